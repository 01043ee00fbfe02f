//! Values of which options and configuration name one of a few.

/// One of a few values, each with a name.
pub trait Choice: Copy + 'static {
    /// Every value, in the order in which help shows them.
    const ALL: &'static [Self];

    /// The value as options and configuration name it.
    fn name(self) -> &'static str;

    /// What it means, for help; `None` where the name says it.
    fn help(self) -> Option<&'static str> {
        None
    }

    /// The value of that name.
    fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.name() == name)
    }
}
