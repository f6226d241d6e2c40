//! Charts as pictures, for where no SVG is taken.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

/// Pixels of the picture for one of the chart's: screens have two.
const SCALE: f32 = 2.0;

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PngError {
    /// Charts have words.
    #[error(
        "no font is installed to write a chart's words with: install one (Debian: fonts-dejavu-core), or write svg"
    )]
    NoFont,
    /// A chart of so many targets that no picture holds it.
    #[error("{name} is too large for a picture: write svg")]
    TooLarge {
        /// The chart.
        name: String,
    },
}

/// The picture of a chart's SVG file, in the light scheme.
pub(crate) fn png(name: &str, svg: &str) -> Result<Vec<u8>, PngError> {
    let fontdb = Arc::clone(fonts());
    if fontdb.is_empty() {
        return Err(PngError::NoFont);
    }
    let options = Options {
        fontdb,
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).expect("the SVG is our own");
    let too_large = || PngError::TooLarge { name: name.into() };
    let size = tree
        .size()
        .to_int_size()
        .scale_by(SCALE)
        .ok_or_else(too_large)?;
    let mut picture = Pixmap::new(size.width(), size.height()).ok_or_else(too_large)?;
    resvg::render(
        &tree,
        Transform::from_scale(SCALE, SCALE),
        &mut picture.as_mut(),
    );
    picture.encode_png().map_err(|_| too_large())
}

/// The system's fonts, with one of them for words without a serif.
fn fonts() -> &'static Arc<Database> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    FONTS.get_or_init(|| {
        let mut fonts = Database::new();
        fonts.load_system_fonts();
        let names = fonts
            .faces()
            .filter_map(|face| Some(face.families.first()?.0.clone()));
        let names: Vec<String> = names.collect();
        let wanted = [
            "Helvetica Neue",
            "Segoe UI",
            "Roboto",
            "Noto Sans",
            "DejaVu Sans",
            "Arial",
        ];
        let known = wanted
            .into_iter()
            .find(|name| names.iter().any(|known| known == name));
        let family = known.map(str::to_owned).or_else(|| names.first().cloned());
        if let Some(family) = family {
            fonts.set_sans_serif_family(family);
        }
        Arc::new(fonts)
    })
}
