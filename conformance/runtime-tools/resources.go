package main

import (
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-tools/cgroups"
	"github.com/opencontainers/runtime-tools/generate"
)

const mebibyte = 1 << 20

func setBlkio(g *generate.Generator) {
	g.SetLinuxResourcesBlockIOWeight(500)
}

func readBlkio(c cgroups.Cgroup, pid int, path string) (interface{}, error) {
	return c.GetBlockIOData(pid, path)
}

func setCPU(g *generate.Generator) {
	g.SetLinuxResourcesCPUShares(1024)
	g.SetLinuxResourcesCPUQuota(20000)
	g.SetLinuxResourcesCPUPeriod(100000)
	g.SetLinuxResourcesCPUCpus("0")
	g.SetLinuxResourcesCPUMems("0")
}

func readCPU(c cgroups.Cgroup, pid int, path string) (interface{}, error) {
	return c.GetCPUData(pid, path)
}

func setDevices(g *generate.Generator) {
	fuse, second := int64(10), int64(229)
	disk, third := int64(8), int64(20)
	g.AddLinuxResourcesDevice(true, "c", &fuse, &second, "rwm")
	g.AddLinuxResourcesDevice(true, "b", &disk, &third, "rw")
}

// What is allowed: devices.list does not show that all else is denied, by the generator's first rule.
func allowed(rules []rspec.LinuxDeviceCgroup) []rspec.LinuxDeviceCgroup {
	list := []rspec.LinuxDeviceCgroup{}
	for _, rule := range rules {
		if rule.Allow {
			list = append(list, rule)
		}
	}
	return list
}

func readDevices(c cgroups.Cgroup, pid int, path string) (interface{}, error) {
	return c.GetDevicesData(pid, path)
}

func setHugetlb(g *generate.Generator) {
	g.AddLinuxResourcesHugepageLimit("2MB", 8*mebibyte)
}

func readHugetlb(c cgroups.Cgroup, pid int, path string) (interface{}, error) {
	return c.GetHugepageLimitData(pid, path)
}

func setMemory(g *generate.Generator) {
	g.SetLinuxResourcesMemoryLimit(50 * mebibyte)
	g.SetLinuxResourcesMemoryReservation(40 * mebibyte)
	g.SetLinuxResourcesMemorySwappiness(50)
	g.SetLinuxResourcesMemoryDisableOOMKiller(true)
}

func readMemory(c cgroups.Cgroup, pid int, path string) (interface{}, error) {
	return c.GetMemoryData(pid, path)
}

func setNetwork(g *generate.Generator) {
	g.SetLinuxResourcesNetworkClassID(255)
	g.AddLinuxResourcesNetworkPriorities("lo", 10)
}

func readNetwork(c cgroups.Cgroup, pid int, path string) (interface{}, error) {
	return c.GetNetworkData(pid, path)
}

func setPids(g *generate.Generator) {
	g.SetLinuxResourcesPidsLimit(1000)
}

func readPids(c cgroups.Cgroup, pid int, path string) (interface{}, error) {
	return c.GetPidsData(pid, path)
}
