//! A list of what a plugin asks for, and the host's lists that narrow it. Next: `publish` and
//! `hosts`, what such lists hold.

/// What one entry of a list allows.
pub trait Scope: Clone + PartialEq {
    /// Whether all that `other` allows is allowed by this one. May say no where it is so.
    fn covers(&self, other: &Self) -> bool;

    /// Whether there may be something that both allow. May say yes where there is nothing.
    fn overlaps(&self, other: &Self) -> bool;
}

/// Names allow nothing but themselves.
impl Scope for String {
    fn covers(&self, other: &Self) -> bool {
        self == other
    }

    fn overlaps(&self, other: &Self) -> bool {
        self == other
    }
}

/// What is asked for, as far as every one of the host's lists allows it, too.
#[derive(Debug, Clone, PartialEq)]
pub struct Granted<T> {
    asked: Vec<T>,
    narrowed: Vec<Vec<T>>,
}

impl<T> Default for Granted<T> {
    fn default() -> Self {
        Self { asked: Vec::new(), narrowed: Vec::new() }
    }
}

impl<T> From<Vec<T>> for Granted<T> {
    fn from(asked: Vec<T>) -> Self {
        Self { asked, narrowed: Vec::new() }
    }
}

impl<T> Granted<T> {
    /// What the plugin asks for, granted or not.
    pub fn asked(&self) -> &[T] {
        &self.asked
    }

    /// The lists that must each allow what is done: the plugin's own, then the host's.
    pub fn lists(&self) -> impl Iterator<Item = &[T]> {
        std::iter::once(&self.asked).chain(&self.narrowed).map(Vec::as_slice)
    }

    /// Whether an entry of each list `fits`.
    pub fn allows(&self, fits: impl Fn(&T) -> bool) -> bool {
        self.lists().all(|list| list.iter().any(&fits))
    }
}

impl<T: Scope> Granted<T> {
    /// The same, as far as `list` allows it.
    #[must_use]
    pub fn narrow(&self, list: Option<&Vec<T>>) -> Self {
        let mut both = self.clone();
        both.narrowed.extend(list.cloned());
        both
    }

    /// What is granted, as one list: entry by entry the narrower one where one holds the other. Where
    /// two merely overlap, the one that was asked for, so that this may say more than is granted.
    pub fn effective(&self) -> Vec<T> {
        let mut effective = self.asked.clone();
        for list in &self.narrowed {
            let mut both: Vec<T> = Vec::new();
            for entry in &effective {
                for part in list.iter().filter_map(|other| common(entry, other)) {
                    if !both.contains(part) {
                        both.push(part.clone());
                    }
                }
            }
            effective = both;
        }
        effective
    }

    /// What is asked for of which nothing is granted.
    pub fn refused(&self) -> Vec<T> {
        let given = self.effective();
        self.asked
            .iter()
            .filter(|asked| !given.iter().any(|it| it.overlaps(asked)))
            .cloned()
            .collect()
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.effective().is_empty()
    }

    /// Whether all that `entry` allows is granted.
    pub fn covers(&self, entry: &T) -> bool {
        self.allows(|it| it.covers(entry))
    }

    /// What is granted here and not by `before`.
    pub fn beyond(&self, before: &Self) -> Vec<T> {
        self.effective().into_iter().filter(|entry| !before.covers(entry)).collect()
    }
}

impl Granted<String> {
    /// The names that are granted, in the order in which they were asked for.
    pub fn names(&self) -> Vec<String> {
        self.effective()
    }
}

fn common<'a, T: Scope>(one: &'a T, other: &'a T) -> Option<&'a T> {
    if other.covers(one) {
        Some(one)
    } else if one.covers(other) {
        Some(other)
    } else {
        one.overlaps(other).then_some(one)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HostGrant, PublishGrant};
    use super::*;
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    fn list<T: FromStr<Err: Debug>>(texts: &[&str]) -> Vec<T> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn texts<T: Display>(list: Vec<T>) -> Vec<String> {
        list.iter().map(T::to_string).collect()
    }

    /// Asked, narrowing, effective, refused.
    type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str]);

    fn assert_narrows<T: Scope + FromStr<Err: Debug> + Display + Debug>(table: &[Row<'_>]) {
        for (asked, narrowing, effective, refused) in table {
            let asked = Granted::<T>::from(list(asked));
            let both = asked.narrow(Some(&list(narrowing)));
            assert_eq!(texts(both.effective()), *effective, "{both:?}");
            assert_eq!(texts(both.refused()), *refused, "{both:?}");
            assert_eq!(both.beyond(&asked), [], "never widened: {both:?}");
        }
    }

    #[test]
    fn narrowing_leaves_what_both_allow_and_never_widens() {
        assert_narrows::<PublishGrant>(&[
            (&["shop:order.*"], &["shop:#"], &["shop:order.*"], &[]),
            (&["shop:#"], &["shop:order.*", ":q"], &["shop:order.*"], &[]),
            (&["shop:order.*", ":queue"], &["*:#.paid"], &["shop:order.*"], &[":queue"]),
            (&["shop:#"], &[], &[], &["shop:#"]),
            (&[], &["*:#"], &[], &[]),
            (&["*:a"], &["shop:#"], &["*:a"], &[]),
            (&["a:x", "a:y"], &["a:*"], &["a:x", "a:y"], &[]),
        ]);
        assert_narrows::<HostGrant>(&[
            (&["https://*"], &["https://a.b", "http://a.b"], &["https://a.b"], &[]),
            (&["https://a.b"], &["https://*"], &["https://a.b"], &[]),
            (&["https://*.b:*"], &["https://*.a.b"], &["https://*.a.b"], &[]),
            (&["http://10.0.0.0/8"], &["http://10.1.0.0/16"], &["http://10.1.0.0/16"], &[]),
            (&["http://10.0.0.0/8"], &["http://*"], &[], &["http://10.0.0.0/8"]),
            (&["https://a.b"], &["https://a.b:444"], &[], &["https://a.b"]),
        ]);
        assert_narrows::<String>(&[(&["b", "a"], &["a", "b", "c"], &["b", "a"], &[])]);
    }

    #[test]
    fn what_was_not_granted_before_is_more() {
        /// Before: asked and narrowing; then likewise; what is more.
        type Row<'a> = ([Option<&'a [&'a str]>; 4], &'a [&'a str]);
        let table: [Row<'_>; 7] = [
            ([Some(&["a:x"]), None, Some(&["a:x"]), None], &[]),
            ([Some(&["a:x"]), None, Some(&["a:x", "a:y"]), None], &["a:y"]),
            ([Some(&["a:#"]), None, Some(&["a:x"]), None], &[]),
            ([Some(&["a:x"]), None, Some(&["a:#"]), None], &["a:#"]),
            ([Some(&["a:x"]), None, Some(&["a:#"]), Some(&["a:x"])], &[]),
            ([Some(&["a:#"]), Some(&["a:x"]), Some(&["a:#"]), Some(&["a:x"])], &[]),
            ([Some(&["a:#"]), Some(&["a:x"]), Some(&["a:#"]), None], &["a:#"]),
        ];
        for ([asked, narrowing, then, narrowing_then], more) in table {
            let granted = |asked: Option<&[&str]>, narrowing: Option<&[&str]>| {
                let asked = Granted::<PublishGrant>::from(list(asked.unwrap_or_default()));
                asked.narrow(narrowing.map(list).as_ref())
            };
            let (before, then) = (granted(asked, narrowing), granted(then, narrowing_then));
            assert_eq!(texts(then.beyond(&before)), more, "{before:?} {then:?}");
        }
    }
}
