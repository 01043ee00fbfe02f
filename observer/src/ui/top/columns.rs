//! The columns of a list: which ones there are, and which ones fit.

use observer_core::label::Label;

use super::subject::View;

/// A column. Each can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Graph,
    Attempts,
    Established,
    Failures,
    Ratio,
    Of(Label),
    Streak,
    LastFailed,
    P50,
    P95,
    Mostly,
}

/// From left to right.
pub(super) const ORDER: [Column; 19] = [
    Column::Name,
    Column::Graph,
    Column::Attempts,
    Column::Established,
    Column::Failures,
    Column::Ratio,
    Column::Of(Label::Refused),
    Column::Of(Label::Timeout),
    Column::Of(Label::Unreachable),
    Column::Of(Label::Blocked),
    Column::Of(Label::Reset),
    Column::Of(Label::Closed),
    Column::Of(Label::Silent),
    Column::Of(Label::Cancelled),
    Column::Streak,
    Column::LastFailed,
    Column::P50,
    Column::P95,
    Column::Mostly,
];

/// The most important first; those that do not fit are left out. All down to
/// the last time fit into 80 columns.
const IMPORTANCE: [Column; 17] = [
    Column::Failures,
    Column::Attempts,
    Column::Ratio,
    Column::Graph,
    Column::Of(Label::Refused),
    Column::Of(Label::Timeout),
    Column::Streak,
    Column::LastFailed,
    Column::P50,
    Column::P95,
    Column::Established,
    Column::Of(Label::Unreachable),
    Column::Of(Label::Blocked),
    Column::Of(Label::Reset),
    Column::Of(Label::Closed),
    Column::Of(Label::Silent),
    Column::Of(Label::Cancelled),
];

/// Those that come before the names are widened.
const FIRST: usize = 11;

/// The longest IPv4 destination.
const NAME_WIDTH: usize = 21;
/// The longest IPv6 destination.
const NAME_MAX: usize = 47;
/// Enough for `refused/icmp-admin-prohibited`.
const MOSTLY_WIDTH: usize = 29;
/// A series has no more.
pub(super) const GRAPH_MAX: usize = 60;

impl Column {
    pub(super) const fn title(self, view: View) -> &'static str {
        match (self, view) {
            (Self::Name, View::Destinations) => "destination",
            (Self::Name, View::Prefixes) => "prefix",
            (Self::Name, View::Sources) => "source",
            (Self::Graph, _) => "graph",
            (Self::Attempts, _) => "attempts",
            (Self::Established, _) => "estab",
            (Self::Failures, _) => "failed",
            (Self::Ratio, _) => "fail%",
            (Self::Of(Label::Unreachable), _) => "unreach",
            (Self::Of(Label::Cancelled), _) => "cancel",
            (Self::Of(label), _) => label.as_str(),
            (Self::Streak, _) => "streak",
            (Self::LastFailed, _) => "last",
            (Self::P50, _) => "p50",
            (Self::P95, _) => "p95",
            (Self::Mostly, _) => "mostly",
        }
    }

    /// The least width.
    const fn width(self) -> usize {
        match self {
            Self::Name => NAME_WIDTH,
            Self::Mostly => MOSTLY_WIDTH,
            Self::LastFailed => 4,
            Self::P50 | Self::P95 | Self::Streak | Self::Established | Self::Failures => 6,
            Self::Ratio => 5,
            Self::Graph | Self::Attempts => 8,
            Self::Of(Label::Connected) => 9,
            Self::Of(Label::Reset | Label::Closed | Label::Silent | Label::Cancelled) => 6,
            Self::Of(_) => 7,
        }
    }

    pub(super) const fn is_left_aligned(self) -> bool {
        matches!(self, Self::Name | Self::Mostly | Self::Graph)
    }

    /// The next column to the right, or to the left, all around.
    pub(super) fn neighbour(self, is_right: bool) -> Self {
        let index = ORDER.iter().position(|&column| column == self).unwrap_or(0);
        let step = if is_right { 1 } else { ORDER.len() - 1 };
        ORDER[(index + step) % ORDER.len()]
    }
}

/// The columns that fit into `width` with a space between them, from left to
/// right with their widths. The one that is sorted by is among them, wherever
/// there is room for two; `longest` is the length of the longest name.
pub(super) fn fit(width: usize, sorted: Column, longest: usize) -> Vec<(Column, usize)> {
    let name = NAME_WIDTH.min(width);
    let mut fit = Fit { chosen: vec![(Column::Name, name)], spare: width - name };
    let (first, rarer) = IMPORTANCE.split_at(FIRST);
    fit.add(sorted);
    first.iter().for_each(|&column| fit.add(column));
    fit.widen(Column::Name, longest.clamp(NAME_WIDTH, NAME_MAX) - NAME_WIDTH);
    fit.add(Column::Mostly);
    rarer.iter().for_each(|&column| fit.add(column));
    fit.widen(Column::Graph, GRAPH_MAX - Column::Graph.width());
    fit.chosen.sort_by_key(|(column, _)| ORDER.iter().position(|known| known == column));
    // Behind the last one there is room for the arrow.
    if fit.spare == 0 && fit.chosen.len() > 1 && fit.chosen.last().is_some_and(|(column, _)| *column == sorted) {
        fit.chosen[0].1 = fit.chosen[0].1.saturating_sub(1);
    }
    fit.chosen
}

struct Fit {
    chosen: Vec<(Column, usize)>,
    spare: usize,
}

impl Fit {
    fn add(&mut self, column: Column) {
        let needed = column.width() + 1;
        if needed <= self.spare && !self.chosen.iter().any(|(known, _)| *known == column) {
            self.spare -= needed;
            self.chosen.push((column, column.width()));
        }
    }

    fn widen(&mut self, column: Column, by: usize) {
        if let Some((_, width)) = self.chosen.iter_mut().find(|(known, _)| *known == column) {
            let more = by.min(self.spare);
            *width += more;
            self.spare -= more;
        }
    }
}
