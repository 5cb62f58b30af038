//! What nodes tell each other: JSON, so that every bus can carry it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Who says it.
    pub(crate) node: u64,
    /// How many of its messages the bus may not have taken.
    pub(crate) losses: u64,
    pub(crate) what: What,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// A write begins. If its end is not heard within so many milliseconds, it is as if it were.
    Begin { write: u64, keys: Keys, millis: u64 },
    /// The store has it, or may have it. `owed`: what a shared cache has of the keys may be older.
    End {
        write: u64,
        keys: Keys,
        #[serde(default)]
        owed: bool,
    },
    /// For the sender: it hears the bus. For who has not heard it before: whether anything is `owed`.
    Ping {
        number: u64,
        #[serde(default)]
        owed: bool,
    },
}

/// Keys, or all there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keys(Option<Vec<Value>>);

impl Keys {
    pub(crate) const ALL: Self = Self(None);

    pub(crate) fn of<'k, K: Serialize + 'k>(keys: impl IntoIterator<Item = &'k K>) -> Self {
        Self(keys.into_iter().map(|key| serde_json::to_value(key).ok()).collect())
    }

    /// `None`: all. An error means that they are not of this type.
    pub(crate) fn read<K: DeserializeOwned>(&self) -> Result<Option<Vec<K>>, serde_json::Error> {
        self.0.as_ref().map(|keys| keys.iter().map(K::deserialize).collect()).transpose()
    }
}

impl Message {
    /// As it is sent. One that is too long for the bus speaks of all keys.
    pub(crate) fn text(mut self, longest: usize) -> String {
        let text = self.json();
        if text.len() <= longest {
            return text;
        }
        if let What::Begin { keys, .. } | What::End { keys, .. } = &mut self.what {
            *keys = Keys::ALL;
        }
        self.json()
    }

    fn json(&self) -> String {
        // Numbers and values of JSON always have a form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in_or_as_all() {
        let keys = || Keys::of(&["KJFK", "LFPG"].map(String::from));
        let say = |keys, longest| {
            Message { node: u64::MAX, losses: 1, what: What::End { write: 2, keys, owed: true } }
                .text(longest)
        };
        let hear = |text: &str| match serde_json::from_str::<Message>(text).unwrap() {
            Message { node: u64::MAX, losses: 1, what: What::End { write: 2, keys, owed: true } } => keys,
            other => panic!("{other:?}"),
        };
        assert_eq!(hear(&say(keys(), 1000)).read::<String>().unwrap().unwrap(), ["KJFK", "LFPG"]);
        assert!(hear(&say(keys(), 1000)).read::<u32>().is_err());
        assert_eq!(hear(&say(keys(), 90)).read::<String>().unwrap(), None);
    }
}
