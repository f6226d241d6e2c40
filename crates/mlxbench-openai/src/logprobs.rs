//! The log-probabilities that a server gives of its answer, in the forms that the API's servers have.

use mlxbench_core::TokenId;
use mlxbench_core::protocol::{Logprobs, NamedToken, NamedTokens};
use serde_json::{Map, Value, json};

use crate::endpoint::Kind;

/// The keys that ask for the `likeliest` tokens of each position, a form after another until a server takes one: the
/// API's own for `kind`, and for completions that of chats, which mlx_lm.server has for both.
pub(crate) fn keys(kind: Kind, likeliest: usize) -> Vec<Map<String, Value>> {
    let form = |keys: Value| keys.as_object().cloned().unwrap_or_default();
    let of_chats = form(json!({"logprobs": true, "top_logprobs": likeliest}));
    match kind {
        Kind::Chat => vec![of_chats],
        Kind::Completions => vec![form(json!({"logprobs": likeliest})), of_chats],
    }
}

/// What `answer`, an answer in one piece, tells; `None` where it tells nothing.
pub(crate) fn read(answer: &Value) -> Option<Logprobs> {
    let logprobs = answer.pointer("/choices/0/logprobs")?;
    let mut positions = of_chats(logprobs).or_else(|| of_completions(logprobs))?;
    let texts = ["/choices/0/text", "/choices/0/message/content"];
    let text = texts.iter().find_map(|path| answer.pointer(path)?.as_str());
    settle(&mut positions, text.unwrap_or_default());
    Some(Logprobs {
        prompt_tokens: answer
            .pointer("/usage/prompt_tokens")
            .and_then(Value::as_u64),
        positions,
    })
    .filter(|told| !told.positions.is_empty())
}

/// `{"content": [{"token", "logprob", "top_logprobs": [{"token", "logprob"}]}]}`, with `bytes` and `id` where a server
/// says them.
fn of_chats(logprobs: &Value) -> Option<Vec<NamedTokens>> {
    let positions = logprobs.get("content")?.as_array()?.iter();
    let position = |position: &Value| {
        let likeliest = position.get("top_logprobs").and_then(Value::as_array);
        let likeliest = likeliest.map_or(&[][..], Vec::as_slice);
        Some(NamedTokens {
            chosen: token(position)?,
            likeliest: likeliest.iter().filter_map(token).collect(),
        })
    };
    // What follows one that isn't told can't be placed.
    Some(positions.map_while(position).collect())
}

fn token(value: &Value) -> Option<NamedToken> {
    let word = value.get("token").and_then(Value::as_str);
    let id = value.get("id").and_then(Value::as_u64);
    let id = id.and_then(|id| TokenId::try_from(id).ok());
    let id = id.or_else(|| word.and_then(stated_id));
    // What is no text by itself is shown as a character that many such tokens share.
    let word = word.filter(|word| !word.contains('\u{fffd}'));
    let text = bytes(value).or_else(|| word.map(str::to_owned));
    Some(NamedToken {
        id,
        text: text.or_else(|| id.map(|_| String::new()))?,
        logprob: logprob(value.get("logprob")?)?,
    })
}

/// A token's text by its bytes; that of a single one which is no text is the vocabulary's word for it.
fn bytes(value: &Value) -> Option<String> {
    let bytes = value.get("bytes")?.as_array()?.iter();
    let bytes: Option<Vec<u8>> = bytes
        .map(|byte| u8::try_from(byte.as_u64()?).ok())
        .collect();
    match String::from_utf8(bytes?) {
        Ok(text) if text.is_empty() => None,
        Ok(text) => Some(text),
        Err(error) => match error.as_bytes() {
            [byte] => Some(format!("<0x{byte:02X}>")),
            _ => None,
        },
    }
}

/// `{"tokens", "token_logprobs", "top_logprobs": [{TOKEN: LOGPROB}]}`, a list each.
fn of_completions(logprobs: &Value) -> Option<Vec<NamedTokens>> {
    let list = |key: &str| logprobs.get(key).and_then(Value::as_array);
    let (tokens, own) = (list("tokens")?, list("token_logprobs")?);
    let likeliest = list("top_logprobs").map_or(&[][..], Vec::as_slice);
    let named = |word: &str, value: &Value| {
        Some(NamedToken {
            id: stated_id(word),
            text: word.to_owned(),
            logprob: logprob(value)?,
        })
    };
    let position = |(at, (word, value)): (usize, (&Value, &Value))| {
        let likeliest = likeliest.get(at).and_then(Value::as_object);
        let likeliest = likeliest.into_iter().flatten();
        Some(NamedTokens {
            chosen: named(word.as_str()?, value)?,
            likeliest: likeliest
                .filter_map(|(word, value)| named(word, value))
                .collect(),
        })
    };
    let positions = tokens.iter().zip(own).enumerate();
    Some(positions.map_while(position).collect())
}

/// Has the generated tokens be those of the answer's text. Where the named ones don't spell it, they are the likeliest
/// that go on with it, up to where none does: mlx_lm.server (0.32) names any of the likeliest ones.
fn settle(positions: &mut Vec<NamedTokens>, text: &str) {
    let named: String = positions
        .iter()
        .map(|position| word(&position.chosen))
        .collect();
    // A chat's answer may be stripped, and its end token isn't in it.
    let spells = |named: &str| named.starts_with(text) || text.starts_with(named);
    let as_ids = positions
        .iter()
        .any(|position| stated_id(&position.chosen.text).is_some());
    if as_ids || spells(&named) || spells(named.trim_start()) {
        return;
    }
    let mut rest = text;
    let mut settled = 0;
    for position in positions.iter_mut() {
        let length = |token: &NamedToken| {
            let word = word(token);
            let stripped = word.trim_start();
            let words = [word.as_str(), stripped].into_iter();
            let mut words = words.take(if settled == 0 { 2 } else { 1 });
            let word = words.find(|word| !word.is_empty() && rest.starts_with(word))?;
            Some(word.len())
        };
        let told = position.likeliest.iter().chain([&position.chosen]);
        let fitting = told.filter_map(|token| Some((token, length(token)?)));
        let best = fitting.max_by(|(a, of_a), (b, of_b)| {
            let by_likelihood = a.logprob.total_cmp(&b.logprob);
            by_likelihood.then(of_a.cmp(of_b))
        });
        let Some((chosen, length)) = best.map(|(token, length)| (token.clone(), length)) else {
            break;
        };
        position.chosen = chosen;
        rest = &rest[length..];
        settled += 1;
    }
    positions.truncate(settled);
}

/// A token as a text has it.
fn word(token: &NamedToken) -> String {
    token.text.replace('\u{2581}', " ")
}

/// vLLM's way of saying an id, where it was asked to: `token_id:17`.
fn stated_id(word: &str) -> Option<TokenId> {
    word.strip_prefix("token_id:")?.parse().ok()
}

/// A logarithm of a probability; rounding may leave it above 0.
fn logprob(value: &Value) -> Option<f64> {
    let logprob = value.as_f64()?;
    (logprob.is_finite() && logprob < 1e-3).then_some(logprob.min(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(logprobs: Value) -> Value {
        json!({"choices": [{"text": "a b", "logprobs": logprobs}], "usage": {"prompt_tokens": 9}})
    }

    fn words(tokens: &[NamedToken]) -> Vec<(Option<TokenId>, &str, f64)> {
        let words = tokens.iter();
        words
            .map(|token| (token.id, token.text.as_str(), token.logprob))
            .collect()
    }

    #[test]
    fn chats_tell_a_token_with_its_bytes_or_its_id() {
        let told = read(&answer(json!({"content": [
            {"token": " a", "bytes": [32, 97], "logprob": -0.5, "top_logprobs": [
                {"token": " a", "bytes": [32, 97], "logprob": -0.5},
                {"token": "\u{fffd}", "bytes": [226], "logprob": -2},
                {"token": "\u{fffd}", "bytes": [226, 130], "logprob": -3.0},
                {"token": "x", "bytes": null, "logprob": null},
            ]},
            {"id": 7, "token": "▁b", "logprob": 1e-7},
        ]})))
        .unwrap();
        assert_eq!(told.prompt_tokens, Some(9));
        let [first, second] = &told.positions[..] else {
            panic!("{told:?}")
        };
        assert_eq!(
            words(&first.likeliest),
            [(None, " a", -0.5), (None, "<0xE2>", -2.0)]
        );
        assert_eq!((second.chosen.id, second.chosen.logprob), (Some(7), 0.0));
        assert!(second.likeliest.is_empty());
    }

    #[test]
    fn completions_tell_lists() {
        let told = read(&answer(json!({
            "tokens": [" a", "token_id:17", "c"],
            "token_logprobs": [-0.5, -0.25, null],
            "top_logprobs": [{" a": -0.5, " b": -1.5}, {"token_id:17": -0.25}, null],
        })))
        .unwrap();
        assert_eq!(told.positions.len(), 2, "what isn't told ends it");
        assert_eq!(
            words(&told.positions[0].likeliest),
            [(None, " a", -0.5), (None, " b", -1.5)]
        );
        assert_eq!(told.positions[1].chosen.id, Some(17));
    }

    #[test]
    fn what_was_generated_is_the_likeliest_that_the_text_holds() {
        let position = |words: [(&str, f64); 3]| {
            let token = |(word, logprob): &(&str, f64)| json!({"token": word, "logprob": logprob});
            let all: Vec<Value> = words.iter().map(token).collect();
            // The first one is named as the generated one, whichever that was.
            json!({"token": words[0].0, "logprob": words[0].1, "top_logprobs": all})
        };
        let content = [
            [(".", -3.0), ("▁the", -0.5), ("▁a", -2.0)],
            [("▁a", -2.25), ("▁ever", -2.125), ("▁any", -2.125)],
            [("x", -1.0), ("y", -2.0), ("yz", -2.0)],
        ]
        .map(position);
        let generated = |text: Value| {
            let choice = json!({"message": {"content": text}, "logprobs": {"content": content}});
            let told = read(&json!({"choices": [choice]})).unwrap();
            let chosen = told.positions.into_iter();
            let chosen: Vec<String> = chosen.map(|position| position.chosen.text).collect();
            chosen.join("|")
        };
        assert_eq!(generated(" the anyyz".into()), "▁the|▁any|yz");
        assert_eq!(generated(". axe".into()), ".|▁a|x", "they spell it");
        assert_eq!(
            generated("the ever".into()),
            "▁the|▁ever",
            "up to where none fits"
        );
        assert_eq!(generated(Value::Null), ".|▁a|x");
    }

    #[test]
    fn an_answer_without_log_probabilities_tells_nothing() {
        for logprobs in [
            Value::Null,
            json!({}),
            json!({"content": null}),
            json!({"content": []}),
            json!({"content": [{"token": "a", "logprob": 3.5}]}),
            json!({"tokens": ["a"], "token_logprobs": [null]}),
            json!([1, 2]),
        ] {
            assert_eq!(read(&answer(logprobs.clone())), None, "{logprobs}");
        }
        assert_eq!(read(&json!({"choices": []})), None);
    }

    #[test]
    fn completions_are_asked_in_both_forms() {
        let forms = keys(Kind::Completions, 5);
        assert_eq!(forms[0]["logprobs"], 5);
        assert_eq!(
            (&forms[1]["logprobs"], &forms[1]["top_logprobs"]),
            (&json!(true), &json!(5))
        );
        assert_eq!(keys(Kind::Chat, 5).len(), 1);
    }
}
