//! How a pool shares blocks out.

use fqgan::backend::cpu::Pool;
use std::sync::Mutex;

/// What a pool did: (lane, block, fresh), in the order of each lane.
fn seen(pool: &Pool, blocks: usize) -> Vec<(usize, usize, bool)> {
    let seen = Mutex::new(Vec::new());
    pool.runs(blocks, |lane, block, fresh| seen.lock().unwrap().push((lane, block, fresh)));
    seen.into_inner().unwrap()
}

#[test]
fn runs_take_each_block_once() {
    let host = || Pool::host(Box::new(|jobs, job| (0..jobs).rev().for_each(job)), 3);
    let pools = [Pool::new(1).unwrap(), Pool::new(2).unwrap(), Pool::new(5).unwrap(), host()];
    for pool in &pools {
        for blocks in [0, 1, 2, 3, 7, 64, 1000] {
            let all = seen(pool, blocks);
            let mut taken: Vec<usize> = all.iter().map(|&(_, block, _)| block).collect();
            taken.sort_unstable();
            assert_eq!(taken, (0..blocks).collect::<Vec<_>>());
            for lane in 0..pool.threads() {
                let mut last = None;
                for &(_, block, fresh) in all.iter().filter(|(l, ..)| *l == lane) {
                    let follows = block > 0 && last == Some(block - 1);
                    assert!(fresh || follows, "lane {lane} went from {last:?} to {block}");
                    last = Some(block);
                }
            }
            assert!(all.iter().all(|&(lane, ..)| lane < pool.threads()));
        }
    }
    // One after the other, as one lane does it.
    let alone = seen(&pools[0], 7);
    assert_eq!(alone, (0..7).map(|block| (0, block, block == 0)).collect::<Vec<_>>());
}

/// A lane that has nothing left takes from the end of another's run.
#[test]
fn runs_help_each_other() {
    // The jobs of this pool run one after the other, so the first lane does the work of all.
    let pool = Pool::host(Box::new(|jobs, job| (0..jobs).for_each(job)), 2);
    let order: Vec<usize> = seen(&pool, 6).into_iter().map(|(_, block, _)| block).collect();
    assert_eq!(order, [0, 1, 2, 5, 4, 3]);
}
