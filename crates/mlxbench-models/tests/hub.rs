//! Fetching from a hub: what is fetched, what isn't fetched again, and what a refusal says.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/hub_server.rs"]
mod hub_server;

use std::fs;
use std::path::PathBuf;

use hub_server::{HubServer, Repository, etag};
use mlxbench_models::hub::Hub;
use tempfile::TempDir;

const REPO: &str = "google/gemma-3-270m";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NEXT_COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// A port that nothing listens at: its service is long gone.
const UNREACHABLE: &str = "http://127.0.0.1:1";

/// A Gemma of next to no size.
fn gemma() -> Repository {
    let config = r#"{"model_type": "gemma3_text", "vocab_size": 16, "hidden_size": 8,
        "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4}"#;
    let files = [
        ("README.md", b"# Gemma".to_vec()),
        ("config.json", config.into()),
        ("tokenizer.json", b"{}".to_vec()),
        ("pytorch_model.bin", vec![1; 100]),
        (SINGLE, weights(1000)),
    ];
    Repository {
        name: REPO,
        commit: COMMIT,
        files: files.into(),
        ..Repository::default()
    }
}

/// The same with its weights in two shards, and a third that the index doesn't name.
fn sharded_gemma() -> Repository {
    let mut repository = gemma();
    repository.files.remove(SINGLE);
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors",
        "c": "model-1.safetensors"}}"#;
    repository.files.insert(INDEX, index.into());
    repository.files.insert("model-1.safetensors", weights(700));
    repository.files.insert("model-2.safetensors", weights(300));
    repository
        .files
        .insert("consolidated.safetensors", weights(900));
    repository
}

/// A safetensors file of one tensor of `bytes` bytes, each unlike its neighbours.
fn weights(bytes: usize) -> Vec<u8> {
    let header =
        format!(r#"{{"a":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend((0..bytes).map(|i| (i % 251) as u8));
    file
}

/// A hub with `repository`, and a client of it whose cache is empty.
struct Scene {
    server: HubServer,
    cache: TempDir,
}

impl Scene {
    fn of(repository: Repository) -> Self {
        Self {
            server: HubServer::start(repository),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn hub(&self) -> Hub {
        Hub::new(self.cache.path()).endpoint(&self.server.address)
    }

    fn fetch(&self) -> PathBuf {
        self.hub().fetch(REPO, None).unwrap()
    }

    /// What `hub` says when it has no snapshot, with the places of this run replaced.
    fn refusal(&self, hub: &Hub, repo: &str, revision: Option<&str>) -> String {
        let text = hub.fetch(repo, revision).unwrap_err().to_string();
        text.replace(&self.server.address, "http://hub")
            .replace(self.cache.path().to_str().unwrap(), "/cache")
    }

    fn part(&self, content: &[u8]) -> PathBuf {
        let blobs = self.cache.path().join("models--google--gemma-3-270m/blobs");
        fs::create_dir_all(&blobs).unwrap();
        blobs.join(etag(content)).with_extension("part")
    }
}

fn names(folder: &PathBuf) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
        .into_iter()
        .map(|name| name.into_string().unwrap())
        .collect()
}

#[test]
fn a_snapshot_holds_what_a_benchmark_needs() {
    let mut repository = gemma();
    let template = b"{{ bos_token }}".to_vec();
    repository.files.insert("chat_template.jinja", template);
    let scene = Scene::of(repository);
    let folder = scene.fetch();
    let expected = [
        "chat_template.jinja",
        "config.json",
        SINGLE,
        "tokenizer.json",
    ];
    assert_eq!(names(&folder), expected);
    assert_eq!(fs::read(folder.join(SINGLE)).unwrap(), weights(1000));
    assert!(folder.ends_with(COMMIT));
}

#[test]
fn only_the_shards_that_the_index_names_are_fetched() {
    let scene = Scene::of(sharded_gemma());
    let shards = ["model-1.safetensors", "model-2.safetensors"];
    let expected = ["config.json", shards[0], shards[1], INDEX, "tokenizer.json"];
    assert_eq!(names(&scene.fetch()), expected);
}

#[test]
fn a_snapshot_is_fetched_once() {
    let scene = Scene::of(sharded_gemma());
    let first = scene.fetch();
    scene.server.forget();
    assert_eq!(scene.fetch(), first);
    assert_eq!(scene.server.downloads(), []);
}

#[test]
fn weights_that_a_new_commit_leaves_as_they_were_are_not_fetched_again() {
    let scene = Scene::of(gemma());
    scene.fetch();
    scene.server.forget();
    scene.server.change(|repository| {
        repository.commit = NEXT_COMMIT;
        repository.files.insert("tokenizer.json", b"{ }".to_vec());
    });
    let folder = scene.fetch();
    assert_eq!(scene.server.downloads(), [("tokenizer.json".into(), 0)]);
    assert_eq!(fs::read(folder.join(SINGLE)).unwrap(), weights(1000));
    assert!(folder.ends_with(NEXT_COMMIT));
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let mut repository = sharded_gemma();
    repository.cut = Some(("model-2.safetensors", 123));
    let scene = Scene::of(repository);
    let folder = scene.fetch();
    let shard = |name: &str, start| (name.to_owned(), start);
    assert_eq!(
        scene.server.downloads()[3..],
        [
            shard("model-1.safetensors", 0),
            shard("model-2.safetensors", 0),
            shard("model-2.safetensors", 123),
        ]
    );
    assert_eq!(
        fs::read(folder.join("model-2.safetensors")).unwrap(),
        weights(300)
    );
}

#[test]
fn a_download_that_an_earlier_run_began_goes_on() {
    let scene = Scene::of(gemma());
    let content = weights(1000);
    fs::write(scene.part(&content), &content[..400]).unwrap();
    let folder = scene.fetch();
    assert!(scene.server.downloads().contains(&(SINGLE.into(), 400)));
    assert_eq!(fs::read(folder.join(SINGLE)).unwrap(), content);
}

#[test]
fn a_download_that_an_earlier_run_ended_only_needs_its_name() {
    let scene = Scene::of(gemma());
    let content = weights(1000);
    fs::write(scene.part(&content), &content).unwrap();
    let folder = scene.fetch();
    assert!(
        scene
            .server
            .downloads()
            .iter()
            .all(|(file, _)| file != SINGLE)
    );
    assert_eq!(fs::read(folder.join(SINGLE)).unwrap(), content);
}

#[test]
fn a_hub_that_cannot_go_on_sends_all_again() {
    let mut repository = gemma();
    repository.ignore_ranges = true;
    let scene = Scene::of(repository);
    let content = weights(1000);
    fs::write(scene.part(&content), &content[..400]).unwrap();
    assert_eq!(fs::read(scene.fetch().join(SINGLE)).unwrap(), content);
}

#[test]
fn a_file_whose_link_leads_nowhere_is_fetched_again() {
    let scene = Scene::of(gemma());
    let link = scene.fetch().join(SINGLE);
    fs::remove_file(fs::canonicalize(&link).unwrap()).unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("../../blobs/gone", &link).unwrap();
    assert_eq!(fs::read(scene.fetch().join(SINGLE)).unwrap(), weights(1000));
}

#[test]
fn the_token_is_shown() {
    let scene = Scene::of(gemma());
    scene.hub().token("hf_abc\n").fetch(REPO, None).unwrap();
    assert_eq!(
        scene.server.authorization().as_deref(),
        Some("Bearer hf_abc")
    );
}

#[test]
fn a_commit_can_be_named() {
    let scene = Scene::of(gemma());
    let folder = scene.hub().fetch(REPO, Some(COMMIT)).unwrap();
    assert_eq!(
        scene.hub().offline(true).fetch(REPO, Some(COMMIT)).unwrap(),
        folder
    );
}

#[test]
fn offline_the_cache_serves() {
    let scene = Scene::of(sharded_gemma());
    let folder = scene.fetch();
    scene.server.forget();
    assert_eq!(scene.hub().offline(true).fetch(REPO, None).unwrap(), folder);
    assert_eq!(scene.server.requests(), 0);
}

#[test]
fn without_a_network_the_cache_serves() {
    let scene = Scene::of(gemma());
    let folder = scene.fetch();
    let hub = scene.hub().endpoint(UNREACHABLE);
    assert_eq!(hub.fetch(REPO, None).unwrap(), folder);
}

#[test]
fn when_the_hub_is_broken_the_cache_serves() {
    let scene = Scene::of(gemma());
    let folder = scene.fetch();
    scene
        .server
        .change(|repository| repository.refuse_description = Some((503, "", "")));
    assert_eq!(scene.fetch(), folder);
}

#[test]
fn a_snapshot_that_lacks_a_shard_does_not_serve() {
    let scene = Scene::of(sharded_gemma());
    fs::remove_file(scene.fetch().join("model-2.safetensors")).unwrap();
    let text = scene.refusal(&scene.hub().offline(true), REPO, None);
    insta::assert_snapshot!(text, @"HF_HUB_OFFLINE is set, and /cache has no whole snapshot of google/gemma-3-270m at `main`: unset it to fetch one; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

#[test]
fn an_unreachable_hub_is_told() {
    let scene = Scene::of(gemma());
    let text = scene.refusal(&scene.hub().endpoint(UNREACHABLE), REPO, None);
    assert!(
        text.starts_with("the hub at http://127.0.0.1:1 can't be reached"),
        "{text}"
    );
    assert!(text.contains("Connection refused"), "{text}");
    assert!(
        text.ends_with("use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m"),
        "{text}"
    );
}

#[test]
fn a_broken_hub_is_told() {
    let mut repository = gemma();
    repository.refuse_description = Some((503, "", "Service unavailable"));
    let scene = Scene::of(repository);
    insta::assert_snapshot!(scene.refusal(&scene.hub(), REPO, None), @"the hub at http://hub can't be reached or is out of order (it answers with HTTP status 503 Service unavailable), and the cache has no whole snapshot of google/gemma-3-270m: check the network and HF_ENDPOINT; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

#[test]
fn something_else_at_the_address_is_told() {
    let mut repository = gemma();
    repository.refuse_description = Some((200, "", ""));
    let scene = Scene::of(repository);
    insta::assert_snapshot!(scene.refusal(&scene.hub(), REPO, None), @"the hub at http://hub can't be reached or is out of order (what answers there is not a model hub), and the cache has no whole snapshot of google/gemma-3-270m: check the network and HF_ENDPOINT; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

#[test]
fn a_gated_repository_is_told_with_its_page() {
    let mut repository = gemma();
    repository.refuse_files = Some((403, "GatedRepo", "Access to this model is restricted"));
    let scene = Scene::of(repository);
    insta::assert_snapshot!(scene.refusal(&scene.hub().token("hf_abc"), REPO, None), @"google/gemma-3-270m is gated: accept its terms at https://huggingface.co/google/gemma-3-270m, then set HF_TOKEN to a token of that account that may read gated repositories, or run `hf auth login`; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

#[test]
fn files_that_need_a_token_are_gated_ones() {
    for (status, code) in [(401, "GatedRepo"), (401, "")] {
        let mut repository = gemma();
        repository.refuse_files = Some((status, code, ""));
        let scene = Scene::of(repository);
        let text = scene.refusal(&scene.hub(), REPO, None);
        assert!(
            text.starts_with("google/gemma-3-270m is gated: accept its terms"),
            "{text}"
        );
    }
}

#[test]
fn a_repository_whose_description_is_gated_is_told_too() {
    let mut repository = gemma();
    repository.refuse_description = Some((401, "GatedRepo", ""));
    let scene = Scene::of(repository);
    let text = scene.refusal(&scene.hub(), REPO, None);
    assert!(
        text.starts_with("google/gemma-3-270m is gated: accept its terms"),
        "{text}"
    );
}

#[test]
fn a_bad_token_is_told() {
    let mut repository = gemma();
    repository.refuse_description = Some((401, "", "Invalid credentials in Authorization header"));
    let scene = Scene::of(repository);
    insta::assert_snapshot!(scene.refusal(&scene.hub().token("hf_old"), REPO, None), @"the hub doesn't accept the token (Invalid credentials in Authorization header): set HF_TOKEN to a valid one or run `hf auth login`; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

#[test]
fn a_token_that_no_header_can_hold_is_told() {
    let scene = Scene::of(gemma());
    let text = scene.refusal(&scene.hub().token("hf_a b"), REPO, None);
    assert!(
        text.contains("doesn't accept the token (it has characters that no token has)"),
        "{text}"
    );
    assert_eq!(scene.server.requests(), 0);
}

#[test]
fn a_missing_repository_is_told() {
    let scene = Scene::of(gemma());
    insta::assert_snapshot!(scene.refusal(&scene.hub(), "someone/nothing", None), @"the hub has no repository someone/nothing, or one that only a token with access to it sees: check the name at https://huggingface.co/someone/nothing; for a private one set HF_TOKEN or run `hf auth login`; or use synthetic:PRESET in place of hf:someone/nothing (`mlxbench model list` names the presets)");
}

#[test]
fn a_missing_revision_is_told() {
    let scene = Scene::of(gemma());
    insta::assert_snapshot!(scene.refusal(&scene.hub(), REPO, Some("v2")), @"google/gemma-3-270m has no revision `v2`: https://huggingface.co/google/gemma-3-270m/tree/main lists its branches and tags; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

#[test]
fn gguf_weights_are_told() {
    let mut repository = gemma();
    repository.files = [("gemma-q4_0.gguf", vec![0; 8])].into();
    let scene = Scene::of(repository);
    insta::assert_snapshot!(scene.refusal(&scene.hub(), REPO, None), @"google/gemma-3-270m has GGUF weights (gemma-q4_0.gguf) and no safetensors with a config.json: name a repository in the Hugging Face layout, or download the file and run `mlxbench model import`; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

#[test]
fn pytorch_weights_are_told() {
    let mut repository = gemma();
    repository.files.remove(SINGLE);
    let scene = Scene::of(repository);
    insta::assert_snapshot!(scene.refusal(&scene.hub(), REPO, None), @"google/gemma-3-270m has PyTorch weights (pytorch_model.bin) and no Gemma weights in safetensors with a config.json: name a repository in the Hugging Face layout; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

#[test]
fn another_architecture_is_told_before_its_weights_are_fetched() {
    let mut repository = gemma();
    repository
        .files
        .insert("config.json", br#"{"model_type": "llama"}"#.to_vec());
    let scene = Scene::of(repository);
    insta::assert_snapshot!(scene.refusal(&scene.hub(), REPO, None), @r#"google/gemma-3-270m is no Gemma that mlxbench can run: /cache/models--google--gemma-3-270m/snapshots/0123456789abcdef0123456789abcdef01234567/config.json: model_type "llama" is not supported: mlxbench runs the text models of gemma, gemma2, gemma3, gemma4 and vaultgemma; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m"#);
    assert!(
        scene
            .server
            .downloads()
            .iter()
            .all(|(file, _)| file != SINGLE)
    );
}

#[test]
fn quantised_weights_are_named_and_nothing_else_is_fetched() {
    let mut repository = gemma();
    let config = r#"{"model_type": "gemma3_text", "quantization": {"group_size": 32, "bits": 4,
        "mode": "mxfp4"}}"#;
    repository.files.insert("config.json", config.into());
    let scene = Scene::of(repository);
    let text = scene.refusal(&scene.hub(), REPO, None);
    assert!(
        text.contains(
            "the weights are quantised: MLX 4-bit (mxfp4), group size 32 (`quantization`)"
        ),
        "{text}"
    );
    assert_eq!(scene.server.downloads(), [("config.json".into(), 0)]);
}

#[test]
fn a_single_file_beside_a_stale_index_is_fetched() {
    let mut repository = sharded_gemma();
    repository.files.remove("model-2.safetensors");
    repository.files.insert(SINGLE, weights(1000));
    let scene = Scene::of(repository);
    let expected = ["config.json", SINGLE, INDEX, "tokenizer.json"];
    assert_eq!(names(&scene.fetch()), expected);
    assert!(scene.hub().offline(true).fetch(REPO, None).is_ok());
}

#[test]
fn an_index_that_names_what_is_not_there_is_told() {
    let mut repository = sharded_gemma();
    repository.files.remove("model-2.safetensors");
    let scene = Scene::of(repository);
    insta::assert_snapshot!(scene.refusal(&scene.hub(), REPO, None), @"the index of the safetensors of google/gemma-3-270m is wrong: it names model-2.safetensors, which the repository doesn't have beside it; or use synthetic:gemma-3-270m in place of hf:google/gemma-3-270m");
}

/// A safetensors file of the model's tensors but for those that `left_out` picks, with elements that
/// aren't zero.
fn tensors(left_out: impl Fn(&str) -> bool, more: &[&str]) -> Vec<u8> {
    let repository = gemma();
    let config = std::str::from_utf8(&repository.files["config.json"]).unwrap();
    let specs = mlxbench_core::GemmaConfig::from_json(config)
        .unwrap()
        .tensors();
    let specs = specs.into_iter().filter(|spec| !left_out(&spec.name));
    let mut tensors: Vec<_> = specs.map(|spec| (spec.name, spec.shape)).collect();
    tensors.extend(more.iter().map(|name| ((*name).to_owned(), vec![1])));
    let ones = vec![1; 4 * 16 * 16];
    let views = tensors.iter().map(|(name, shape)| {
        let bytes = &ones[..4 * shape.iter().product::<usize>()];
        let dtype = safetensors::Dtype::F32;
        let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes);
        (name, view.unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A repository with a single file beside two shards.
fn two_sets(single: Vec<u8>) -> Repository {
    let is_norm = |name: &str| name.ends_with("norm.weight");
    let mut repository = sharded_gemma();
    let shards = [tensors(is_norm, &[]), tensors(|name| !is_norm(name), &[])];
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    repository.files.insert(INDEX, index.into());
    let [first, second] = shards;
    repository.files.insert("model-1.safetensors", first);
    repository.files.insert("model-2.safetensors", second);
    repository.files.insert(SINGLE, single);
    repository
}

fn warnings(folder: &std::path::Path) -> Vec<String> {
    let checkpoint = mlxbench_core::Checkpoint::open(folder).unwrap();
    checkpoint.warnings().to_vec()
}

#[test]
fn of_two_whole_sets_the_single_file_is_fetched_alone() {
    let scene = Scene::of(two_sets(tensors(|_| false, &[])));
    let folder = scene.fetch();
    assert_eq!(names(&folder), ["config.json", SINGLE, "tokenizer.json"]);
    // The shards that weren't fetched aren't called missing.
    assert_eq!(warnings(&folder), [""; 0]);
    assert_eq!(scene.hub().offline(true).fetch(REPO, None).unwrap(), folder);
}

#[test]
fn shards_are_fetched_in_place_of_a_part_of_a_model() {
    let scene = Scene::of(two_sets(tensors(|name| name.contains("mlp"), &[])));
    let folder = scene.fetch();
    let shards = ["model-1.safetensors", "model-2.safetensors"];
    let expected = ["config.json", shards[0], shards[1], INDEX, "tokenizer.json"];
    assert_eq!(names(&folder), expected);
    assert_eq!(warnings(&folder), [""; 0]);
}

#[test]
fn names_of_tensors_tell_packed_weights_before_they_are_fetched() {
    let packed = "model.layers.0.mlp.up_proj.W_q";
    let mut single = gemma();
    single.files.insert(SINGLE, tensors(|_| false, &[packed]));
    let mut sharded = sharded_gemma();
    let index = format!(
        r#"{{"weight_map": {{"{packed}": "model-1.safetensors", "b": "model-2.safetensors"}}}}"#
    );
    sharded.files.insert(INDEX, index.into());
    let mut adapted = gemma();
    let unmerged = tensors(|_| false, &["model.layers.0.mlp.up_proj.lora_A.weight"]);
    adapted.files.insert(SINGLE, unmerged);
    for (repository, expected) in [
        (single, "quantised: HQQ"),
        (sharded, "quantised: HQQ"),
        (adapted, "LoRA adapter that isn't merged"),
    ] {
        let scene = Scene::of(repository);
        let text = scene.refusal(&scene.hub(), REPO, None);
        assert!(text.contains(expected), "{text}");
        let downloads = scene.server.downloads();
        let fetched = downloads
            .iter()
            .any(|(file, _)| file.ends_with(".safetensors"));
        assert!(!fetched, "{downloads:?}");
    }
}

#[test]
fn a_header_longer_than_what_is_asked_for_first_is_read_whole() {
    let names: Vec<String> = (0..2000)
        .map(|n| format!("vision_tower.a.rather.long.name.of.a.tensor.{n}"))
        .collect();
    let mut more: Vec<&str> = names.iter().map(String::as_str).collect();
    more.push("x.qweight");
    let mut repository = gemma();
    repository.files.insert(SINGLE, tensors(|_| false, &more));
    let scene = Scene::of(repository);
    let text = scene.refusal(&scene.hub(), REPO, None);
    assert!(text.contains("AWQ or GPTQ (`x.qweight`)"), "{text}");
}

#[test]
fn files_beside_the_configuration_name_quantised_weights_too() {
    for (file, content, expected) in [
        (
            "hf_quant_config.json",
            r#"{"quantization": {"quant_algo": "NVFP4"}}"#,
            "ModelOpt NVFP4",
        ),
        (
            "quantize_config.json",
            r#"{"bits": 4, "desc_act": false}"#,
            "GPTQ 4-bit",
        ),
        (
            "quant_config.json",
            r#"{"w_bit": 4, "zero_point": true}"#,
            "AWQ 4-bit",
        ),
    ] {
        let mut repository = gemma();
        repository.files.insert(file, content.into());
        let scene = Scene::of(repository);
        let text = scene.refusal(&scene.hub(), REPO, None);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_adapter_is_told_from_a_model() {
    let mut repository = gemma();
    repository.files = [
        ("adapter_config.json", b"{}".to_vec()),
        ("adapter_model.safetensors", weights(10)),
    ]
    .into();
    let scene = Scene::of(repository);
    let text = scene.refusal(&scene.hub(), REPO, None);
    assert!(
        text.starts_with("google/gemma-3-270m is a LoRA adapter, not a model: merge it"),
        "{text}"
    );
}

#[test]
fn an_adapter_beside_a_model_is_told() {
    let mut repository = gemma();
    repository.files.insert(SINGLE, tensors(|_| false, &[]));
    repository
        .files
        .insert("adapter_config.json", b"{}".to_vec());
    let scene = Scene::of(repository);
    let warnings = warnings(&scene.fetch());
    assert!(
        warnings[0].contains("a LoRA adapter lies beside this model"),
        "{warnings:?}"
    );
}

#[test]
fn shards_without_their_index_are_told() {
    let mut repository = gemma();
    repository.files.remove(SINGLE);
    repository
        .files
        .insert("model-00001-of-00002.safetensors", weights(10));
    let scene = Scene::of(repository);
    let text = scene.refusal(&scene.hub(), REPO, None);
    assert!(
        text.contains("under other names (model-00001-of-00002.safetensors)")
            && text.contains("model.safetensors.index.json, which says"),
        "{text}"
    );
}
