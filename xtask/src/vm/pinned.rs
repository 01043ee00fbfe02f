//! The kernels that tests run on, each to the byte. To raise one, take its release from
//! `apt-cache pkgnames linux-image-`, and versions and sums from `apt-cache show`; apt reads
//! `.cache/vm/apt/apt.conf` by the variable APT_CONFIG.

/// A kernel of Debian's, for x86-64.
#[derive(Debug)]
pub(crate) struct Pinned {
    series: &'static str,
    /// As `uname -r` has it.
    pub(crate) release: &'static str,
    version: &'static str,
    /// What has to be fetched: names without the release, and SHA-256 sums.
    packages: &'static [(&'static str, &'static str)],
}

const PINNED: &[Pinned] = &[
    Pinned {
        series: "5.10",
        release: "5.10.0-46-cloud-amd64",
        version: "5.10.262-1",
        packages: &[("linux-image", "18d94781d1b3052e21967ac2262239e5f14fbf511d6c3e110629d7aa35340760")],
    },
    Pinned {
        series: "6.1",
        release: "6.1.0-56-cloud-amd64",
        version: "6.1.192-2",
        packages: &[("linux-image", "e7d02b943971edcb8790e256c02cfab3bca6c3d37c1bf25392a57c71300615ee")],
    },
    Pinned {
        series: "6.12",
        release: "6.12.117+deb12-cloud-amd64",
        version: "6.12.117-1~deb12u1",
        packages: &[("linux-image", "5195b288dec79e2981d6b84457f38b7ce7310a2d702930ec7d07209c7f78ce37")],
    },
    Pinned {
        series: "6.18",
        release: "6.18.15+deb13-cloud-amd64",
        version: "6.18.15-1~bpo13+1",
        packages: &[("linux-image", "5a507681ea8c978d02265a7fec2f02c9588fb48b54b7f71edc1059e86007f3ec")],
    },
    Pinned {
        series: "7.3",
        release: "7.3.4+deb13-cloud-amd64",
        version: "7.3.4-1~bpo13+1",
        packages: &[
            ("linux-image", "4545cda1cab2f7e975e9b3ad1744b4a360092a85a793156bf48f1bdf02906cc9"),
            ("linux-binary", "c4fbc8e404958693b28825474c20742d70594d65ca58aea7be6a279c81eb6fa0"),
            ("linux-modules", "359f04c363b7d3c5f9ce999ccb7351e00cc8eec0a30d6bc1cda37734987fc43d"),
        ],
    },
];

impl Pinned {
    /// Of a series such as `6.12`.
    pub(crate) fn of_series(series: &str) -> Option<&'static Self> {
        PINNED.iter().find(|pinned| pinned.series == series)
    }

    /// Of a release, as `uname -r` has it.
    pub(crate) fn of_release(release: &str) -> Option<&'static Self> {
        PINNED.iter().find(|pinned| pinned.release == release)
    }

    /// What apt-get is asked for: `linux-image-6.1.0-56-cloud-amd64=6.1.192-2`.
    pub(crate) fn packages(&self) -> impl Iterator<Item = String> {
        self.packages.iter().map(|(name, _)| format!("{name}-{}={}", self.release, self.version))
    }

    /// The SHA-256 sum of a file with this name, such as
    /// `linux-image-6.1.0-56-cloud-amd64_6.1.192-2_amd64.deb`. None if it is of no package.
    pub(crate) fn sum_of(&self, file: &str) -> Option<&'static str> {
        let of =
            |name: &str| file.strip_prefix(name).is_some_and(|rest| rest.starts_with(&format!("-{}_", self.release)));
        self.packages.iter().find(|(name, _)| of(name)).map(|(_, sum)| *sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_of_its_series_and_has_its_sums() {
        for pinned in PINNED {
            assert!(pinned.release.starts_with(&format!("{}.", pinned.series)), "{pinned:?}");
            assert!(pinned.version.starts_with(&format!("{}.", pinned.series)), "{pinned:?}");
            assert!(pinned.packages.iter().all(|(_, sum)| sum.len() == 64), "{pinned:?}");
            assert_eq!(Pinned::of_release(pinned.release).map(|found| found.series), Some(pinned.series));
        }
    }

    #[test]
    fn packages_are_known_by_their_files() {
        let pinned = Pinned::of_series("7.3").unwrap();
        assert_eq!(pinned.packages().next().as_deref(), Some("linux-image-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1"));
        assert!(
            pinned.sum_of("linux-binary-7.3.4+deb13-cloud-amd64_7.3.4-1~bpo13+1_amd64.deb").unwrap().starts_with("c4f")
        );
        assert_eq!(pinned.sum_of("linux-binary-7.3.5+deb13-cloud-amd64_7.3.5-1_amd64.deb"), None);
    }
}
