//! GPUs of several processes. The emulated device's NCCL lets two processes meet on one machine, and notes down what is
//! asked of it. Such a test is a parent and its children: this program again, told by the environment what a launcher
//! would tell.

use crate::{cuda, small};
use fqgan::Status;
use fqgan::backend::{Device, Link};
use fqgan::exec::Eager;
use fqgan::ops::add::Add;
use fqgan::tensor::{DType, Desc, Tensor};
use fqgan::train::collective::{Group, Reduction};
use fqgan::train::{Teachers, TokenizerNetwork, Trainer, init};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where a child writes what it found.
const OUT: &str = "FQGAN_TEST_CHILD_OUT";

/// Whether this is a child; then where it writes.
fn child() -> Option<std::path::PathBuf> {
    std::env::var_os(OUT).map(Into::into)
}

/// Whether two processes can meet here, which on a real GPU they cannot: NCCL wants one for each.
pub fn emulated() -> bool {
    std::env::var("FQGAN_CUDA_DRIVER").is_ok_and(|path| !path.is_empty())
}

/// A port at the next of which processes can meet: that one is free now.
pub fn free_port() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    (free - 1).to_string()
}

/// Runs the test of this name in two processes, which write to `at/0` and `at/1`, and whose calls are in `at/notes.0` and
/// so on.
fn two(test: &str, at: &Path, variables: &[(&str, &str)]) {
    let start = |rank: usize| -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env(OUT, at.join(rank.to_string())).env("RANK", rank.to_string()).env("WORLD_SIZE", "2");
        command.env("FQGAN_EMULATOR_NOTES", at.join(format!("notes.{rank}")));
        command.envs(variables.iter().copied());
        command.spawn().unwrap()
    };
    let children = [start(0), start(1)];
    for (rank, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "rank {rank}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The group that the environment tells of, on the emulated device.
fn group(device: &Device) -> Group {
    let group = Group::join().unwrap().on(device).unwrap();
    assert_eq!(group.size(), 2);
    group
}

fn host(tensor: &Tensor) -> Vec<f32> {
    tensor.on_host().unwrap().data::<f32>().unwrap().to_vec()
}

#[test]
fn without_nccl_it_says_so() {
    if child().is_some() {
        let error = Link::id().expect_err("NCCL was found");
        assert_eq!(error.status(), Status::Device);
        assert!(
            error.message().contains("NCCL 2 is not installed") && error.message().contains("no-such"),
            "{error}"
        );
        return;
    }
    let at = tempfile::tempdir().unwrap();
    two("link::without_nccl_it_says_so", at.path(), &[("FQGAN_CUDA_DRIVER", "/no-such-library.so")]);
}

/// A world of one, on a GPU too where NCCL is installed.
#[test]
fn alone_a_sum_is_what_was_given() {
    let device = cuda();
    if let (Err(error), false) = (Link::id(), emulated()) {
        println!("not run: {error}");
        return;
    }
    let workspace = device.workspace(None);
    let link = device.link(&device.link_id().unwrap(), [0, 1]).unwrap();
    let values: Vec<f32> = (0..100_003).map(|i| i as f32 * 0.5 - 7.0).collect();
    let given = device.upload(&Tensor::from_slice([values.len()], &values).unwrap(), &workspace).unwrap();
    let sum = link.start_sum(vec![given.clone(), given.clone()], &workspace).unwrap();
    while !sum.is_done().unwrap() {}
    for found in sum.take().unwrap() {
        assert_eq!(host(&found), values);
    }
    // Nobody waits on the processor: the stream does.
    let gathered = link.start_gather(given, &workspace).unwrap().take().unwrap();
    assert_eq!((host(&gathered[0]), gathered[0].shape().len()), (values, 2));
    let bytes = workspace.tensor(Desc::plain([4], DType::U8)).unwrap();
    assert!(link.start_sum(vec![bytes], &workspace).is_err());
}

/// Where buckets end, what is asked of NCCL, and what waits for what.
#[test]
fn buckets_go_beside_the_work_in_order() {
    const SIZES: [usize; 5] = [600_000, 600_001, 1_200_000, 5, 7];
    if let Some(out) = child() {
        let device = cuda();
        let (group, workspace) = (group(&device), device.workspace(None));
        let e = Eager::new(&device, &workspace);
        let mut reduction = Reduction::new(&group);
        for (i, size) in SIZES.into_iter().enumerate() {
            let values: Vec<f32> =
                (0..size).map(|j| (j % 100 + i) as f32 * (1 + group.rank()) as f32).collect();
            let values = device.upload(&Tensor::from_slice([size], &values).unwrap(), &workspace).unwrap();
            // Something that the device has to do first.
            let gradient = e.run(&Add, &[&values, &values]).map(|[sum]| sum).unwrap();
            reduction.add(&e, &format!("weight {i}"), gradient).unwrap();
        }
        for (i, (name, sum)) in reduction.finish(&workspace).unwrap().into_iter().enumerate() {
            assert_eq!(name, format!("weight {i}"));
            let want = |j: usize| (j % 100 + i) as f32 * 6.0;
            assert!(host(&sum).iter().enumerate().all(|(j, &sum)| sum == want(j)), "{name}");
        }
        assert!(group.name(1).starts_with("rank 1 on "));
        assert_eq!(group.gather(vec![group.rank() as u8; 3]).unwrap(), [0, 0, 0, 1, 1, 1]);
        std::fs::write(out, "done").unwrap();
        return;
    }
    if !emulated() {
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let file = at.path().join("id");
    two(
        "link::buckets_go_beside_the_work_in_order",
        at.path(),
        &[("FQGAN_NCCL_ID_FILE", file.to_str().unwrap())],
    );
    assert!(!file.exists(), "the file of the id is left");
    for rank in 0..2 {
        assert!(at.path().join(rank.to_string()).exists());
        let notes = std::fs::read_to_string(at.path().join(format!("notes.{rank}"))).unwrap();
        let calls = groups(&notes);
        let sizes: Vec<&[usize]> =
            calls.iter().map(|call| &call.sums[..]).filter(|sums| !sums.is_empty()).collect();
        assert_eq!(sizes, [&SIZES[..2], &SIZES[2..3], &SIZES[3..]], "{notes}");
        assert_eq!(notes.matches("nccl: an id").count(), 1 - rank);
        assert_eq!(notes.matches(&format!("nccl: rank {rank} of 2 joins")).count(), 1);
        assert_eq!(notes.lines().last(), Some(&*format!("nccl: rank {rank} leaves")));
    }
}

/// A group of calls of NCCL.
struct Call {
    sums: Vec<usize>,
}

/// The groups of calls that are noted down. Each stands between two marks: its stream waits for the device's before, and
/// the device's for it after.
fn groups(notes: &str) -> Vec<Call> {
    let lines: Vec<&str> = notes.lines().collect();
    let word = |line: &str, at: usize| line.split(' ').nth(at).unwrap().to_string();
    let begins = lines.iter().enumerate().filter(|(_, line)| **line == "nccl: a group begins");
    begins
        .map(|(begin, _)| {
            let end = begin + lines[begin..].iter().position(|line| *line == "nccl: the group ends").unwrap();
            // "record event E in stream S", "stream S waits for event E".
            let [ready, held, done] = [lines[begin - 2], lines[begin - 1], lines[end + 1]];
            let (own, side) = (word(ready, 5), word(held, 1));
            assert_ne!(own, side, "{notes}");
            assert_eq!(ready, format!("record event {} in stream {own}", word(ready, 2)), "{notes}");
            assert_eq!(held, format!("stream {side} waits for event {}", word(ready, 2)), "{notes}");
            assert_eq!(done, format!("record event {} in stream {side}", word(done, 2)), "{notes}");
            let taken = format!("stream {own} waits for event {}", word(done, 2));
            assert!(lines[end..].contains(&&*taken), "nobody waits: {notes}");
            let inside = &lines[begin + 1..end];
            assert!(inside.iter().all(|line| line.ends_with(&format!(" in stream {side}"))), "{notes}");
            let sums = inside.iter().filter(|line| line.starts_with("nccl: sum of "));
            Call { sums: sums.map(|line| word(line, 3).parse().unwrap()).collect() }
        })
        .collect()
}

const STEPS: usize = 2;
const PICTURES: usize = 4;

/// What became of a run.
struct Course {
    /// Every number of every step.
    numbers: Vec<(String, f64)>,
    /// How far each weight moved.
    moves: BTreeMap<String, Vec<f32>>,
    /// How many floats each is.
    sizes: Vec<usize>,
}

fn train(device: &Device, group: &Group) -> Course {
    let recipe = small::recipe(&["adversarial.enabled=false", "loss.gather=true", "optimizer.eps=1e-4"]);
    let weights = init::tokenizer(&recipe, &BTreeMap::new(), 1).unwrap();
    let network = TokenizerNetwork::open(&recipe, &weights, None, Teachers::default()).unwrap();
    let mut trainer = Trainer::new(&recipe, device, network, &weights, None).unwrap().with_group(group);
    let all = small::pictures(PICTURES);
    let each = group.share(PICTURES).unwrap();
    let values = all.data::<f32>().unwrap();
    let one = values.len() / PICTURES;
    let mine = &values[group.rank() * each * one..][..each * one];
    let mine = Tensor::from_slice([each, 32, 32, 3], mine).unwrap();
    let before = trainer.state.weights.clone();
    let mut numbers = Vec::new();
    for step in 0..STEPS {
        let report = trainer.step(&mine).unwrap();
        assert_eq!(report.broken(), None);
        numbers.extend(report.scalars.into_iter().map(|s| (format!("{step} {}", s.name), s.value)));
    }
    let moved = |(name, after): (&String, &Tensor)| {
        let by = host(after).iter().zip(host(&before[name])).map(|(after, before)| after - before).collect();
        (name.clone(), by)
    };
    let moves = trainer.state.weights.iter().map(moved).collect();
    Course { numbers, moves, sizes: before.values().map(|weight| weight.shape().count()).collect() }
}

/// Two processes are one: the same numbers and weights, on the emulated device.
#[test]
fn two_train_as_one() {
    if let Some(out) = child() {
        let device = cuda();
        let Course { numbers, moves, .. } = train(&device, &group(&device));
        let mut text = String::new();
        for (name, value) in numbers {
            writeln!(text, "{name}\t{value:e}").unwrap();
        }
        for (name, weight) in moves {
            let values: Vec<String> = weight.iter().map(|v| format!("{v:e}")).collect();
            writeln!(text, "{name}\t{}", values.join(" ")).unwrap();
        }
        std::fs::write(out, text).unwrap();
        return;
    }
    if !emulated() {
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let address = [("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &*free_port())];
    two("link::two_train_as_one", at.path(), &address);
    let Course { numbers, moves, sizes } = train(&cuda(), &Group::default());
    let text = [0, 1].map(|rank: usize| std::fs::read_to_string(at.path().join(rank.to_string())).unwrap());
    assert!(text[0] == text[1], "the two processes differ");
    let found: BTreeMap<&str, Vec<f64>> = text[0]
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(name, values)| (name, values.split(' ').map(|v| v.parse().unwrap()).collect()))
        .collect();
    assert_eq!(found.len(), numbers.len() + moves.len());
    for (name, value) in numbers {
        let got = found[&*name][0];
        assert!((got - value).abs() <= 1e-5 * value.abs().max(1e-3), "{name}: {got}, expected {value}");
    }
    // How far all weights went, and how far apart they ended: Adam makes much of the rounding in a gradient near zero, so
    // not one by one.
    let (mut way, mut apart) = (0.0, 0.0);
    for (name, moved) in moves {
        for (got, want) in found[&*name].iter().zip(&moved) {
            way += f64::from(*want).powi(2);
            apart += (got - f64::from(*want)).powi(2);
        }
    }
    assert!(way > 0.0 && apart.sqrt() <= 1e-3 * way.sqrt(), "{:.1e} of {:.1e}", apart.sqrt(), way.sqrt());
    // Every gradient travels once a step, the last weights' first: those of the decoder before those of the encoder.
    let notes = std::fs::read_to_string(at.path().join("notes.0")).unwrap();
    let sums: Vec<usize> = groups(&notes).into_iter().flat_map(|call| call.sums).collect();
    let [mut sent, mut wanted] = [sums.clone(), [&sizes[..]; STEPS].concat()];
    sent.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(sent, wanted);
    let last = weights_of_the_last_layer();
    assert!(sums[..2].iter().all(|size| last.contains(size)), "{sums:?}");
}

/// The last layer's weights and biases: 32 channels to 3 by 3 x 3.
fn weights_of_the_last_layer() -> [usize; 2] {
    [32 * 3 * 9, 3]
}

#[test]
fn the_environment_is_read_carefully() {
    if let Some(out) = child() {
        // The first process refuses a file of an earlier run; the second would read it, and learns that it is none.
        let device = cuda();
        let error = Group::join().unwrap().on(&device).err().expect("they met");
        std::fs::write(out, error.message()).unwrap();
        return;
    }
    if !emulated() {
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let file = at.path().join("id");
    std::fs::write(&file, "of an earlier run").unwrap();
    two(
        "link::the_environment_is_read_carefully",
        at.path(),
        &[("FQGAN_NCCL_ID_FILE", file.to_str().unwrap())],
    );
    let said = [0, 1].map(|rank: usize| std::fs::read_to_string(at.path().join(rank.to_string())).unwrap());
    assert!(said[0].contains("is there already"), "{}", said[0]);
    assert!(said[1].contains("17 bytes to meet by, expected 128"), "{}", said[1]);
}
