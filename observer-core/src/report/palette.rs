//! The page's colours, on white and on near-black.
//!
//! Every one is dark, or light, enough to be read as text on its background.
//! Success is blue and failures are not green, so that those who see red and
//! green alike can tell them apart.

use std::fmt::Write as _;

use plotters::style::RGBColor;

use crate::label::Label;

/// A colour on the light page, and the one that takes its place on the dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ink {
    /// On [`PAPER`] `.light`.
    pub light: RGBColor,
    /// On [`PAPER`] `.dark`.
    pub dark: RGBColor,
}

impl Ink {
    const fn new(light: u32, dark: u32) -> Self {
        Self { light: rgb(light), dark: rgb(dark) }
    }
}

const fn rgb(hex: u32) -> RGBColor {
    RGBColor((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

/// The page.
pub const PAPER: Ink = Ink::new(0xff_ff_ff, 0x14_17_1a);
/// Text.
pub const TEXT: Ink = Ink::new(0x1b_1f_24, 0xe6_ea_ee);
/// Text of less weight.
pub const MUTED: Ink = Ink::new(0x57_60_6a, 0xa3_ab_b5);
/// Lines that carry no meaning.
pub const GRID: Ink = Ink::new(0xd0_d7_de, 0x34_3b_43);

/// The colour of a label.
pub const fn of(label: Label) -> Ink {
    match label {
        Label::Refused => Ink::new(0xb4_23_18, 0xff_8f_85),
        Label::Timeout => Ink::new(0x9a_54_00, 0xff_b4_54),
        Label::Unreachable => Ink::new(0x6b_3f_a0, 0xc9_a5_f7),
        Label::Blocked => Ink::new(0xa3_19_6b, 0xff_8a_cb),
        Label::Reset => Ink::new(0x7a_36_20, 0xe0_9a_80),
        Label::Closed => Ink::new(0x5f_61_00, 0xd6_d3_4a),
        Label::Silent => Ink::new(0x00_65_6d, 0x4f_d6_de),
        Label::Cancelled | Label::Unknown => Ink::new(0x5c_63_6b, 0xa9_b1_ba),
        Label::Connected => Ink::new(0x1d_5f_bf, 0x7f_b2_ff),
    }
}

/// Cells of the heat map, from few to many; the same on both pages. The number
/// on each is in [`on_heat`].
pub const HEAT: [RGBColor; 5] = [rgb(0xfd_e8_d0), rgb(0xfb_c4_8a), rgb(0xf0_90_4a), rgb(0xb9_4a_14), rgb(0x7a_24_0a)];

/// The colour of a number on a cell of [`HEAT`].
pub fn on_heat(step: usize) -> RGBColor {
    // Not the page's own white and black: the dark page would change them.
    let (dark, light) = (rgb(0x10_10_10), rgb(0xfe_fe_fe));
    let cell = HEAT[step.min(HEAT.len() - 1)];
    if contrast(dark, cell) >= contrast(light, cell) { dark } else { light }
}

/// `#B42318`, as plotters writes it.
pub fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

/// Every colour that the dark page replaces.
pub fn all() -> impl Iterator<Item = Ink> {
    [PAPER, TEXT, MUTED, GRID].into_iter().chain(Label::ALL.map(of))
}

/// CSS variables for one page, and rules that recolour plots.
pub fn css(is_dark: bool) -> String {
    let pick = |ink: Ink| hex(if is_dark { ink.dark } else { ink.light });
    let mut css = String::from(":root{");
    for (name, ink) in [("paper", PAPER), ("text", TEXT), ("muted", MUTED), ("grid", GRID)] {
        // Writing to a String cannot fail.
        let _ = write!(css, "--{name}:{};", pick(ink));
    }
    for label in Label::ALL {
        let _ = write!(css, "--{}:{};", label.as_str(), pick(of(label)));
    }
    css.push('}');
    if is_dark {
        for ink in all() {
            let (from, to) = (hex(ink.light), hex(ink.dark));
            let _ = write!(css, "svg [fill=\"{from}\"]{{fill:{to}}}svg [stroke=\"{from}\"]{{stroke:{to}}}");
        }
    }
    css
}

/// The contrast ratio of two colours, 1 to 21: WCAG 2.2.
pub fn contrast(a: RGBColor, b: RGBColor) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance(RGBColor(r, g, b): RGBColor) -> f64 {
    let linear = |channel: u8| {
        let c = f64::from(channel) / 255.0;
        if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2.2, 1.4.3, level AA.
    const MIN_CONTRAST: f64 = 4.5;

    #[test]
    fn contrast_is_that_of_wcag() {
        assert!((contrast(rgb(0), rgb(0xff_ff_ff)) - 21.0).abs() < 1e-9);
        assert!((contrast(rgb(0x76_76_76), rgb(0xff_ff_ff)) - 4.54).abs() < 0.01);
    }

    #[test]
    fn every_colour_can_be_read_on_both_pages() {
        let texts = [TEXT, MUTED].into_iter().chain(Label::ALL.map(of));
        for ink in texts {
            for (colour, paper) in [(ink.light, PAPER.light), (ink.dark, PAPER.dark)] {
                assert!(contrast(colour, paper) >= MIN_CONTRAST, "{} {}", hex(colour), contrast(colour, paper));
            }
        }
        for (step, cell) in HEAT.into_iter().enumerate() {
            assert!(contrast(on_heat(step), cell) >= MIN_CONTRAST, "{step}");
        }
    }

    #[test]
    fn no_two_colours_are_the_same() {
        let mut light: Vec<_> = all().map(|ink| hex(ink.light)).collect();
        light.extend(HEAT.map(hex));
        light.extend([hex(on_heat(0)), hex(on_heat(HEAT.len() - 1))]);
        let count = light.len();
        light.sort();
        light.dedup();
        assert_eq!(light.len(), count);
    }
}
