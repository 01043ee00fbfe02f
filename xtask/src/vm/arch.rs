//! What differs by the processor that a virtual machine has.

use clap::ValueEnum;

/// A processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Arch {
    /// This host's, emulated too.
    #[default]
    #[value(name = "x86_64")]
    X86,
    /// 64-bit ARM.
    #[value(name = "aarch64")]
    Arm,
}

impl Arch {
    /// Debian's name.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// How the names of its kernels for virtual machines end.
    pub(crate) const fn flavour(self) -> &'static str {
        match self {
            Self::X86 => "-cloud-amd64",
            Self::Arm => "-cloud-arm64",
        }
    }

    /// What cargo has to build for; `None`: for this host.
    pub(crate) const fn target(self) -> Option<&'static str> {
        match self {
            Self::X86 => None,
            Self::Arm => Some("aarch64-unknown-linux-gnu"),
        }
    }

    /// The C compiler and linker for that.
    pub(crate) const fn linker(self) -> &'static str {
        match self {
            Self::X86 => "cc",
            Self::Arm => "aarch64-linux-gnu-gcc",
        }
    }

    pub(crate) const fn qemu(self) -> &'static str {
        match self {
            Self::X86 => "qemu-system-x86_64",
            Self::Arm => "qemu-system-aarch64",
        }
    }

    /// The board and its processor. Of x86 the plainest: what it lacks would be emulated, and `max` takes a third longer.
    pub(crate) const fn machine(self) -> [&'static str; 4] {
        match self {
            Self::X86 => ["-M", "pc", "-cpu", "qemu64"],
            Self::Arm => ["-M", "virt", "-cpu", "cortex-a72"],
        }
    }

    /// Where the kernel's console is: the board's first serial port.
    pub(crate) const fn console(self) -> &'static str {
        match self {
            Self::X86 => "ttyS0",
            Self::Arm => "ttyAMA0",
        }
    }

    /// The second serial port, for what [`super::guest`] reports: the ARM board has
    /// only one of its own.
    pub(crate) const fn report_port(self) -> [&'static str; 2] {
        match self {
            Self::X86 => ["-serial", "chardev:report"],
            Self::Arm => ["-device", "pci-serial,chardev=report"],
        }
    }
}
