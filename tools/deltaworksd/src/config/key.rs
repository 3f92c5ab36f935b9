//! What is known of a key besides its value: name, unit, range, memory, and when a change takes effect.
//!
//! Made by [`keys!`](crate::config::keys), once per struct; nobody changes it. The same row makes
//! the struct's docs, the flag's help, the printed file and the answers to mistakes, so that these
//! cannot tell different things.

use serde_json::Value as Json;

use super::value::{Range, Raw, Shape};

/// One key of a struct `C` of keys.
#[derive(Debug)]
pub struct Key<C: 'static> {
    /// Its name in the file; the flag has dashes for underscores, the environment a prefix.
    pub name: &'static str,
    /// The heading that it stands under.
    pub group: &'static str,
    /// What it means, in lines.
    pub meaning: &'static [&'static str],
    /// What a value is counted in, or looks like.
    pub unit: &'static str,
    /// What values it may have.
    pub range: Range,
    /// The most memory that a value leads to.
    pub memory: &'static str,
    /// When a changed value takes effect.
    pub change: Change,
    /// Whether a value has an effect at all.
    pub effect: Effect,
    /// How many words a value takes.
    pub shape: Shape,
    /// Sets it, or says what was expected.
    pub set: fn(&mut C, &Raw, Range) -> Result<(), String>,
    /// Its value.
    pub get: fn(&C) -> Json,
    /// Sets it to what another has.
    pub copy: fn(&C, &mut C),
}

impl<C> Key<C> {
    /// Copies its value.
    pub fn copy(&self, from: &C, to: &mut C) {
        (self.copy)(from, to);
    }

    /// The name of its environment variable.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.to_uppercase())
    }

    /// Its flag without the two dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Why a value has no effect; none if it has.
    pub fn void_note(&self) -> Option<String> {
        match self.effect {
            Effect::Works => None,
            Effect::NotYet(why) => Some(format!("{} has no effect yet: {why}", self.name)),
            Effect::Void(why) => Some(format!("{} has no effect: {why}", self.name)),
        }
    }
}

/// What the name of every environment variable of a key begins with.
pub const VARIABLE_PREFIX: &str = "DELTAWORKS_";

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At a reload.
    Reload,
    /// At the next start, because of this.
    Restart(&'static str),
}

/// Whether a value has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It has.
    Works,
    /// The part that it is about is not built: which one.
    NotYet(&'static str),
    /// The design has no place for it: why.
    Void(&'static str),
}

/// Makes a struct of keys with its defaults and docs, and the table of its [`Key`]s.
macro_rules! keys {
    (
        $(#[doc = $about:expr])*
        pub struct $Struct:ident, table $TABLE:ident;
        $($group:literal {$(
            $(#[doc = $meaning:expr])+
            $name:ident: $Type:ty = $default:expr;
                unit $unit:expr;
                range $range:expr;
                memory $memory:expr;
                $change:expr, $effect:expr;
        )+})+
        $(also {$(#[doc = $field_about:expr])+ $field:ident: $Field:ty})?
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $Struct {
            $($(
                $(#[doc = $meaning])+
                #[doc = concat!("\n\nUnit: ", $unit, ". Memory: ", $memory, ".")]
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                pub $name: $Type,
            )+)+
            $($(#[doc = $field_about])+ pub $field: $Field,)?
        }

        impl Default for $Struct {
            fn default() -> Self {
                Self {
                    $($($name: $default,)+)+
                    $($field: <$Field>::default(),)?
                }
            }
        }

        /// Every key, in the order of the printed file.
        pub static $TABLE: &[$crate::config::key::Key<$Struct>] = &[$($(
            $crate::config::key::Key {
                name: stringify!($name),
                group: $group,
                meaning: &[$($meaning),+],
                unit: $unit,
                range: $range,
                memory: $memory,
                change: $change,
                effect: $effect,
                shape: <$Type as $crate::config::value::Value>::SHAPE,
                set: |config, raw, range| {
                    config.$name = $crate::config::value::Value::read(raw, range)?;
                    Ok(())
                },
                get: |config| $crate::config::value::Value::json(&config.$name),
                copy: |from, to| to.$name = from.$name.clone(),
            },
        )+)+];
    };
}
pub(crate) use keys;
