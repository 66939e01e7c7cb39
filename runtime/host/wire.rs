//! JSON as V8 writes a structured clone of it (format version 15).

use serde_json::Value;

/// The bytes `v8.serialize(JSON.parse(text))` would give.
pub(crate) fn from_json(value: &Value) -> Vec<u8> {
    let mut bytes = vec![0xff, 15];
    write(&mut bytes, value);
    bytes
}

fn write(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => bytes.push(b'0'),
        Value::Bool(true) => bytes.push(b'T'),
        Value::Bool(false) => bytes.push(b'F'),
        Value::Number(number) => {
            bytes.push(b'N');
            bytes.extend(number.as_f64().unwrap_or(f64::NAN).to_le_bytes());
        }
        Value::String(text) => write_string(bytes, text),
        Value::Array(items) => {
            bytes.push(b'A');
            varint(bytes, items.len());
            for item in items {
                write(bytes, item);
            }
            bytes.push(b'$');
            varint(bytes, 0);
            varint(bytes, items.len());
        }
        Value::Object(fields) => {
            bytes.push(b'o');
            for (name, value) in fields {
                write_string(bytes, name);
                write(bytes, value);
            }
            bytes.push(b'{');
            varint(bytes, fields.len());
        }
    }
}

fn write_string(bytes: &mut Vec<u8>, text: &str) {
    // UTF-8, which V8 reads but never writes itself: no alignment to get right.
    bytes.push(b'S');
    varint(bytes, text.len());
    bytes.extend(text.as_bytes());
}

fn varint(bytes: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

#[cfg(test)]
mod tests {
    use super::from_json;

    #[test]
    fn json_becomes_the_bytes_v8_writes() {
        let value = serde_json::json!({"a": [true, null], "b": "é"});
        let expected = b"\xff\x0foS\x01aA\x02T0$\x00\x02S\x01bS\x02\xc3\xa9{\x02";
        assert_eq!(
            from_json(&value),
            expected,
            "checked against V8's own reader by the props cases"
        );
    }
}
