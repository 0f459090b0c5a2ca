//! Puts every effective value into its field.

use crate::config::fields::{Field, Fields};
use crate::config::origins::Origins;
use crate::config::schema::{self, Setting, Store};
use crate::config::value::Value;

/// Returns the effective values by type.
pub(in crate::config) fn fill(origins: &Origins) -> Fields {
    let mut fields = Fields::default();
    for setting in schema::all() {
        if let Some(value) = origins.value(setting.name) {
            fields = put(fields, setting, value, origins);
        }
    }
    fields
}

/// Puts one value into its field. A row's constructor and [`value`] agree for each kind on the type
/// of the value; a test checks that every row fills its field.
///
/// [`value`]: crate::config::value
fn put(fields: Fields, setting: &Setting, value: &Value, origins: &Origins) -> Fields {
    let at = Origin { setting, origins };
    match (setting.store, value) {
        (Store::Bool(put), Value::Bool(on)) => put(fields, at.field(*on)),
        (Store::Time(put), Value::Time(time)) => put(fields, at.field(*time)),
        (Store::Number(put), Value::Number(number)) => put(fields, at.field(*number)),
        (Store::Text(put), Value::Text(text) | Value::Secret(text) | Value::Login(text)) => {
            put(fields, at.field(text.clone()))
        }
        (Store::Path(put), Value::Path(path)) => {
            put(fields, at.field(Some(path.clone()).filter(|path| !path.as_os_str().is_empty())))
        }
        (Store::List(put), Value::List(list)) => put(fields, at.field(list.clone())),
        (Store::Listen(put), Value::Listen(urls)) => put(fields, at.field(urls.clone())),
        (Store::Peers(put), Value::Peers(urls)) => put(fields, at.field(urls.clone())),
        (Store::Id(put), Value::Id(id)) => put(fields, at.field(*id)),
        (Store::Levels(put), Value::Levels(levels)) => put(fields, at.field(levels.clone())),
        _ => fields,
    }
}

/// The source of a field's name and place.
struct Origin<'a> {
    setting: &'a Setting,
    origins: &'a Origins,
}

impl Origin<'_> {
    fn field<T>(&self, value: T) -> Field<T> {
        let name = self.setting.name;
        let location = self.origins.location(name).clone();
        Field { name, value, location, is_sound: self.origins.is_sound(name) }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::problem::Problems;
    use crate::config::schema::{self, Store, Support};
    use crate::config::tests::Fixture;

    #[test]
    fn every_row_fills_the_field_of_its_name() {
        let inputs = Fixture::new().inputs();
        let gathered = crate::config::gather(&inputs, None, &mut Problems::default());
        let fields = format!("{:?}", super::fill(&gathered.origins));
        for setting in schema::all() {
            let name = setting.name;
            let field = format!(" {}: Field {{ name: \"{name}\"", name.replace('-', "_"));
            if matches!(setting.store, Store::Nowhere) {
                assert!(
                    setting.support == Support::Idle || name == schema::names::CONFIG_FILE,
                    "{name}"
                );
            } else {
                assert!(fields.contains(&field), "{name}");
            }
        }
        assert!(!fields.contains("name: \"\""), "a field without a row: {fields}");
    }
}
