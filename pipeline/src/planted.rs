//! Panics planted in the stages, for tests of what contains them.
//!
//! Belongs to one core, whose stages ask it at the places where a panic can be planted. It never
//! changes a state: it panics where it was told to and says so, once or every time. Compiled only
//! with `planted_faults` or `testing`; in a release these are empty functions. Holds one entry a
//! planted panic; who plants bounds them.

/// A panic to come.
#[cfg(any(feature = "planted_faults", feature = "testing"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlantedPanic {
    /// In the check of a batch of this document.
    Check {
        /// The document's name.
        document: String,
        /// Every time, not only the first.
        is_repeated: bool,
    },
    /// In the middle of appending a batch of this document.
    Append {
        /// The document's name.
        document: String,
        /// Every time, not only the first.
        is_repeated: bool,
    },
    /// In the handling of a session's input, when this core has received more than so many bytes.
    Received {
        /// The bytes.
        after_bytes: u64,
    },
    /// In the middle of a session's input, when this core has passed on so many images.
    Passing {
        /// The images.
        after_images: u64,
    },
    /// In the handling of a session's input, when it opens this document.
    Opening {
        /// The document's name.
        document: String,
        /// Every time, not only the first.
        is_repeated: bool,
    },
}

#[cfg(any(feature = "planted_faults", feature = "testing"))]
mod armed {
    use super::PlantedPanic;

    /// What is planted in the stages of one core.
    #[derive(Debug, Default)]
    pub(crate) struct PlantedPanics(Vec<PlantedPanic>);

    impl PlantedPanics {
        pub fn plant(&mut self, panic: PlantedPanic) {
            self.0.push(panic);
        }

        pub fn check<'a>(&mut self, name: impl Fn() -> &'a str) {
            self.strike(
                |it| matches!(it, PlantedPanic::Check { document, .. } if document == name()),
            );
        }

        pub fn append<'a>(&mut self, name: impl Fn() -> &'a str) {
            self.strike(
                |it| matches!(it, PlantedPanic::Append { document, .. } if document == name()),
            );
        }

        pub fn received(&mut self, bytes: u64) {
            self.strike(
                |it| matches!(it, PlantedPanic::Received { after_bytes } if bytes > *after_bytes),
            );
        }

        pub fn passing(&mut self, images: u64) {
            self.strike(
                |it| matches!(it, PlantedPanic::Passing { after_images } if images >= *after_images),
            );
        }

        /// How many images may be passed on, behind `images`, before the next panic is due.
        pub fn until_passing(&self, images: u64) -> usize {
            let due = |it: &PlantedPanic| match it {
                PlantedPanic::Passing { after_images } => Some(after_images.saturating_sub(images)),
                _ => None,
            };
            self.0.iter().filter_map(due).min().map_or(usize::MAX, |images| images as usize)
        }

        pub fn opening(&mut self, name: &str) {
            self.strike(
                |it| matches!(it, PlantedPanic::Opening { document, .. } if document == name),
            );
        }

        fn strike(&mut self, is_meant: impl Fn(&PlantedPanic) -> bool) {
            let Some(place) = self.0.iter().position(is_meant) else { return };
            let panic = match &self.0[place] {
                PlantedPanic::Check { is_repeated: true, .. }
                | PlantedPanic::Append { is_repeated: true, .. }
                | PlantedPanic::Opening { is_repeated: true, .. } => self.0[place].clone(),
                _ => self.0.remove(place),
            };
            panic!("a planted fault: {panic:?}");
        }
    }
}

#[cfg(any(feature = "planted_faults", feature = "testing"))]
pub(crate) use armed::PlantedPanics;

#[cfg(not(any(feature = "planted_faults", feature = "testing")))]
mod unarmed {
    /// Nothing is planted in a release.
    #[derive(Debug, Default)]
    pub(crate) struct PlantedPanics {}

    impl PlantedPanics {
        #[inline(always)]
        pub fn check<'a>(&mut self, _: impl Fn() -> &'a str) {}
        #[inline(always)]
        pub fn append<'a>(&mut self, _: impl Fn() -> &'a str) {}
        #[inline(always)]
        pub fn received(&mut self, _: u64) {}
        #[inline(always)]
        pub fn passing(&mut self, _: u64) {}
        #[inline(always)]
        pub fn until_passing(&self, _: u64) -> usize {
            usize::MAX
        }
        #[inline(always)]
        pub fn opening(&mut self, _: &str) {}
    }
}

#[cfg(not(any(feature = "planted_faults", feature = "testing")))]
pub(crate) use unarmed::PlantedPanics;
