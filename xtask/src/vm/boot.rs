//! What is booted: plain machines, one a kernel, and machines with a setting for
//! the trials that a plain one cannot run.

/// A machine to boot.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    /// The kernel's series, such as `6.12`.
    pub(crate) series: String,
    /// `None`: a plain machine.
    pub(crate) setting: Option<Setting>,
    /// For the test program.
    pub(crate) arguments: Vec<String>,
}

/// What is special about a machine, and the trials that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// The kernel's series.
    series: &'static str,
    /// What the kernel is told.
    pub(crate) command_line: &'static str,
    /// How the names of its trials begin. Elsewhere they are ignored.
    trials: &'static str,
}

/// Every setting.
pub(crate) const SETTINGS: [Setting; 3] = [
    Setting { name: "patience", series: "6.12", command_line: "", trials: "patience_" },
    Setting { name: "integrity", series: "6.12", command_line: "lockdown=integrity", trials: "integrity_" },
    Setting {
        name: "confidentiality",
        series: "7.3",
        command_line: "lockdown=confidentiality",
        trials: "confidentiality_",
    },
];

impl Boot {
    /// A plain machine.
    pub(crate) fn plain(series: &str, arguments: &[String]) -> Self {
        Self { series: series.to_owned(), setting: None, arguments: arguments.to_vec() }
    }

    /// The name of its files.
    pub(crate) fn name(&self) -> String {
        match self.setting {
            None => self.series.clone(),
            Some(setting) => format!("{}-{}", self.series, setting.name),
        }
    }
}

impl Setting {
    /// The setting of that name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        SETTINGS.into_iter().find(|setting| setting.name == name)
    }

    /// Its machine.
    pub(crate) fn boot(self) -> Boot {
        let arguments = ["--ignored", self.trials].map(str::to_owned).to_vec();
        Boot { series: self.series.to_owned(), setting: Some(self), arguments }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn settings_have_files_and_trials_of_their_own() {
        let names: HashSet<_> = SETTINGS.iter().map(|setting| setting.boot().name()).collect();
        assert_eq!(names.len(), SETTINGS.len());
        assert!(!names.contains(&Boot::plain("6.12", &[]).name()));
        for setting in SETTINGS {
            assert_eq!(Setting::by_name(setting.name), Some(setting));
            // The test program runs what contains the word.
            let others = SETTINGS.iter().filter(|other| **other != setting);
            assert!(others.into_iter().all(|other| !other.trials.contains(setting.trials)), "{}", setting.name);
        }
        assert_eq!(Setting::by_name("no such"), None);
    }
}
