// Bundles by the generator of OCI's runtime-tools, and what its library reads of a container's
// cgroups, against what was asked for.
//
//	tools config NAME BUNDLE CGROUP ARGUMENT...   writes config.json of a test and validates it
//	tools check NAME BUNDLE PID                   prints TAP: a line for each value
//
// It is built against Debian's golang-github-opencontainers-runtime-tools-dev, which has the
// libraries of runtime-tools, and not its validation programs.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-tools/cgroups"
	"github.com/opencontainers/runtime-tools/generate"
	"github.com/opencontainers/runtime-tools/validate"
)

// A test sets something, and reads it from a container's cgroups.
type test struct {
	set  func(*generate.Generator)
	read func(cgroups.Cgroup, int, string) (interface{}, error)
	// What was asked for, in the same type.
	want func(*rspec.LinuxResources) interface{}
}

var tests = map[string]test{
	"blkio":   {setBlkio, readBlkio, func(r *rspec.LinuxResources) interface{} { return r.BlockIO }},
	"cpus":    {setCPU, readCPU, func(r *rspec.LinuxResources) interface{} { return r.CPU }},
	"devices": {setDevices, readDevices, func(r *rspec.LinuxResources) interface{} { return allowed(r.Devices) }},
	"hugetlb": {setHugetlb, readHugetlb, func(r *rspec.LinuxResources) interface{} { return r.HugepageLimits }},
	"memory":  {setMemory, readMemory, func(r *rspec.LinuxResources) interface{} { return r.Memory }},
	"network": {setNetwork, readNetwork, func(r *rspec.LinuxResources) interface{} { return r.Network }},
	"pids":    {setPids, readPids, func(r *rspec.LinuxResources) interface{} { return r.Pids }},
}

func main() {
	if len(os.Args) < 5 {
		fail("usage: tools config|check NAME BUNDLE ARGUMENT...")
	}
	name, bundle := os.Args[2], os.Args[3]
	found, known := tests[name]
	// The generator's own configuration, about which the caller asks the process inside.
	isDefault := name == "default" && os.Args[1] == "config"
	if !known && !isDefault {
		fail("no test " + name)
	}
	if os.Args[1] == "config" {
		config(found, bundle, os.Args[4], os.Args[5:])
	} else {
		check(found, bundle, os.Args[4])
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}

func must(err error) {
	// The validator's checks give an empty list where nothing is wrong.
	if list, is := err.(*multierror.Error); is {
		err = list.ErrorOrNil()
	}
	if err != nil {
		fail(err.Error())
	}
}

func config(found test, bundle, cgroup string, arguments []string) {
	generator, err := generate.New("linux")
	must(err)
	generator.SetRootPath("rootfs")
	generator.SetProcessArgs(arguments)
	generator.SetLinuxCgroupsPath(cgroup)
	if found.set != nil {
		found.set(&generator)
	}
	must(generator.SaveToFile(filepath.Join(bundle, "config.json"), generate.ExportOptions{}))

	validator, err := validate.NewValidatorFromPath(bundle, true, "linux")
	must(err)
	// Not CheckAll, which fetches the schema from the network.
	must(validator.CheckMandatoryFields())
	must(validator.CheckRoot())
	must(validator.CheckSemVer())
	must(validator.CheckMounts())
	must(validator.CheckProcess())
	must(validator.CheckLinuxResources())
}

func check(found test, bundle, word string) {
	pid, err := strconv.Atoi(word)
	must(err)
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	must(err)
	var spec rspec.Spec
	must(json.Unmarshal(text, &spec))
	cgroup, err := cgroups.FindCgroup()
	must(err)
	has, err := found.read(cgroup, pid, spec.Linux.CgroupsPath)
	must(err)
	tap := &tap{}
	compare(tap, "", reflect.ValueOf(found.want(spec.Linux.Resources)), reflect.ValueOf(has))
	fmt.Printf("1..%d\n", tap.count)
}

type tap struct{ count int }

func (t *tap) line(ok bool, text string) {
	t.count++
	word := "ok"
	if !ok {
		word = "not ok"
	}
	fmt.Printf("%s %d - %s\n", word, t.count, text)
}

// A line for each value that was asked for; what was not asked for may be anything.
func compare(tap *tap, place string, want, has reflect.Value) {
	if want.Kind() == reflect.Ptr || want.Kind() == reflect.Interface {
		if want.IsNil() {
			return
		}
		if has.IsNil() {
			tap.line(false, place+": nothing is set")
			return
		}
		compare(tap, place, want.Elem(), has.Elem())
		return
	}
	switch want.Kind() {
	case reflect.Struct:
		for i := 0; i < want.NumField(); i++ {
			field := want.Type().Field(i)
			compare(tap, strings.TrimPrefix(place+"."+field.Name, "."), want.Field(i), has.Field(i))
		}
	case reflect.Slice:
		for i := 0; i < want.Len(); i++ {
			contains(tap, place, want.Index(i), has)
		}
	case reflect.String:
		if want.Len() > 0 {
			equal(tap, place, want, has)
		}
	default:
		equal(tap, place, want, has)
	}
}

func equal(tap *tap, place string, want, has reflect.Value) {
	ok := reflect.DeepEqual(want.Interface(), has.Interface())
	tap.line(ok, fmt.Sprintf("%s: %v asked for, %v set", place, want.Interface(), has.Interface()))
}

func contains(tap *tap, place string, want, list reflect.Value) {
	asked, _ := json.Marshal(want.Interface())
	for i := 0; i < list.Len(); i++ {
		if reflect.DeepEqual(want.Interface(), list.Index(i).Interface()) {
			tap.line(true, fmt.Sprintf("%s: %s", place, asked))
			return
		}
	}
	set, _ := json.Marshal(list.Interface())
	tap.line(false, fmt.Sprintf("%s: %s asked for, %s set", place, asked, set))
}
