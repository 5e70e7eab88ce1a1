//! Sequences of calls that fixed bytes choose: what the fuzz target `calls` does with any.

use crate::calls::{Files, Tally, run};
use crate::models::{generator_file, tokenizer_file};

#[test]
fn any_sequence_of_calls_keeps_the_contract() {
    let _alone = crate::alone();
    let files = Files { tokenizer: tokenizer_file().into(), generator: generator_file().into() };
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let mut all = Tally::default();
    for _ in 0..800 {
        let bytes: Vec<u8> = (0..400).map(|_| next()).collect();
        let tally = run(&bytes, &files);
        all.calls += tally.calls;
        all.done += tally.done;
    }
    // It would be no test if most calls were refused at the door.
    assert!(all.calls > 8_000 && all.done * 4 > all.calls, "{all:?}");
}
