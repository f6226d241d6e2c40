//! Colours: one a framework throughout, for light and dark, told apart by people who see few colours.

use plotters::style::RGBColor;

/// A colour in both schemes. SVG is drawn with the light one; [`css`] turns it into the dark one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colour {
    light: (u8, u8, u8),
    dark: (u8, u8, u8),
}

impl Colour {
    const fn new(light: u32, dark: u32) -> Self {
        const fn split(colour: u32) -> (u8, u8, u8) {
            let [_, red, green, blue] = colour.to_be_bytes();
            (red, green, blue)
        }
        Self {
            light: split(light),
            dark: split(dark),
        }
    }

    /// The colour as plotters takes it.
    pub(crate) fn rgb(self) -> RGBColor {
        let (red, green, blue) = self.light;
        RGBColor(red, green, blue)
    }

    /// `#0072B2`, as plotters writes it.
    fn hex((red, green, blue): (u8, u8, u8)) -> String {
        format!("#{red:02X}{green:02X}{blue:02X}")
    }

    /// The light colour, for CSS.
    pub(crate) fn light(self) -> String {
        Self::hex(self.light)
    }

    /// The dark colour, for CSS.
    pub(crate) fn dark(self) -> String {
        Self::hex(self.dark)
    }
}

/// Text.
pub(crate) const INK: Colour = Colour::new(0x1B1F24, 0xE9ECEF);
/// Text of less weight.
pub(crate) const MUTED: Colour = Colour::new(0x57606A, 0xA3ADB8);
/// Lines behind the data.
pub(crate) const GRID: Colour = Colour::new(0xDDE1E6, 0x353C45);
/// What lies behind everything.
pub(crate) const SURFACE: Colour = Colour::new(0xFFFFFF, 0x14181D);

/// The frameworks that come with mlxbench. The hues are those of Okabe and Ito, "Color Universal
/// Design", 2008, as dark or as light as a contrast of 3 to 1 with the surface asks for (WCAG 2.2,
/// 1.4.11).
const KNOWN: [(&str, Colour); 3] = [
    ("candle", Colour::new(0x00805C, 0x2BC79B)),
    ("mlx", Colour::new(0x0072B2, 0x56B4E9)),
    ("tch", Colour::new(0xC2500A, 0xFF9447)),
];

/// Colours of other frameworks, in the order of their names.
const OTHERS: [Colour; 5] = [
    Colour::new(0xA23E7C, 0xE598C6),
    Colour::new(0x3A3F45, 0xFFFFFF),
    Colour::new(0x806600, 0xE6CB4A),
    Colour::new(0x4A4FB5, 0xA9ADFF),
    Colour::new(0xB3182C, 0xFF8B94),
];

/// Which framework has which colour: the same in every chart of a report.
#[derive(Debug, Clone)]
pub(crate) struct Palette(Vec<(String, Colour)>);

impl Palette {
    /// Colours for `backends`. Those of mlxbench have theirs always; with more than five others,
    /// colours come again.
    pub(crate) fn new<'a>(backends: impl IntoIterator<Item = &'a str>) -> Self {
        let known = |name: &str| KNOWN.iter().any(|(known, _)| *known == name);
        let others = backends.into_iter().filter(|name| !known(name));
        let mut others: Vec<&str> = others.collect();
        others.sort_unstable();
        others.dedup();
        let others = others.into_iter().zip(OTHERS.iter().cycle().copied());
        let all = KNOWN.into_iter().chain(others);
        Self(
            all.map(|(name, colour)| (name.to_owned(), colour))
                .collect(),
        )
    }

    /// The colour of `backend`.
    pub(crate) fn of(&self, backend: &str) -> Colour {
        let known = self.0.iter().find(|(name, _)| name == backend);
        known.map_or(MUTED, |(_, colour)| *colour)
    }
}

/// The rules that turn every colour of a chart into that of the dark scheme. A rule of CSS goes
/// before the attribute that it looks for.
pub(crate) fn css() -> String {
    let colours = [INK, MUTED, GRID, SURFACE];
    let colours = colours
        .into_iter()
        .chain(KNOWN.map(|(_, colour)| colour))
        .chain(OTHERS);
    let rules = colours.flat_map(|colour| {
        ["fill", "stroke"].map(|property| {
            let (light, dark) = (colour.light(), colour.dark());
            format!("svg.chart [{property}=\"{light}\"]{{{property}:{dark}}}")
        })
    });
    rules.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance (WCAG 2.2, its definition).
    fn luminance((red, green, blue): (u8, u8, u8)) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    fn contrast(a: (u8, u8, u8), b: (u8, u8, u8)) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_data_stand_out_in_both_schemes() {
        let least = |colour: Colour| {
            let light = contrast(colour.light, SURFACE.light);
            light.min(contrast(colour.dark, SURFACE.dark))
        };
        for colour in [INK, MUTED] {
            assert!(least(colour) >= 4.5, "{colour:?}: {}", least(colour));
        }
        for colour in KNOWN.map(|(_, colour)| colour).into_iter().chain(OTHERS) {
            // They are text, too: in labels beside lines.
            assert!(least(colour) >= 4.5, "{colour:?}: {}", least(colour));
        }
    }

    #[test]
    fn a_framework_keeps_its_colour_whatever_others_there_are() {
        let (alone, among) = (Palette::new(["mlx"]), Palette::new(["zz", "aa", "mlx"]));
        assert_eq!(alone.of("mlx"), among.of("mlx"));
        assert_ne!(among.of("aa"), among.of("zz"));
        assert_eq!(among.of("aa"), Palette::new(["aa", "mlx"]).of("aa"));
        assert_eq!(among.of("never heard of"), MUTED);
    }
}
