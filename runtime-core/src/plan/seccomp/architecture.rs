//! Instruction sets as seccomp tells them apart.

use crate::host::Machine;

/// An instruction set, or calling convention, that a machine of ours can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// x86_64's convention with 32-bit pointers: bit 30 of the number is set.
    X32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm.
    Arm,
}

/// The bit that tells x32's calls from x86_64's (__X32_SYSCALL_BIT).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// First number of Arm's private calls (__ARM_NR_BASE), far above all others.
pub(super) const ARM_PRIVATE: u32 = 0x000f_0000;

impl Architecture {
    /// `seccomp_data.arch`: AUDIT_ARCH_* of linux/audit.h. x32 shares x86_64's.
    pub(super) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments are compared in full. x32's are not: most of what it passes are
    /// 32-bit values, and libseccomp compares it so.
    pub(super) const fn is_wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    /// In a person's words.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
        }
    }

    /// What every filter for this machine covers.
    pub(super) const fn native(machine: Machine) -> Self {
        match machine {
            Machine::X86_64 => Self::X86_64,
            Machine::Aarch64 => Self::Aarch64,
        }
    }

    /// From the specification's name, if this machine can run it.
    pub(super) fn of(name: &str, machine: Machine) -> Option<Self> {
        Some(match (machine, name) {
            (Machine::X86_64, "SCMP_ARCH_X86_64") => Self::X86_64,
            (Machine::X86_64, "SCMP_ARCH_X86") => Self::X86,
            (Machine::X86_64, "SCMP_ARCH_X32") => Self::X32,
            (Machine::Aarch64, "SCMP_ARCH_AARCH64") => Self::Aarch64,
            (Machine::Aarch64, "SCMP_ARCH_ARM") => Self::Arm,
            _ => return None,
        })
    }
}

/// `linux.seccomp.architectures`: every name of the specification, sorted. No call of an
/// architecture that the machine can't run ever reaches a filter, so those have no effect.
pub const ARCHITECTURES: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];
