use adwp_engine::{cpu::*, *};
use adwp_models::*;
use rand::SeedableRng;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (cells, channels, batch, side, cin) = (a[0], a[1], a[2], a[3], a[4]);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let sk = Skeleton { stem: Stem::Cifar, cells, channels, classes: 10, image: [cin, side, side] };
    let sp = IntensiveSpace::random(6, &mut rng).unwrap();
    let threads = Threads::new(2).unwrap();
    let images = vec![0.5f32; batch * cin * side * side];
    let images: Vec<f32> = images.iter().enumerate().map(|(i, _)| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
    let labels: Vec<f32> = (0..batch).map(|i| (i % 10) as f32).collect();
    let run = |name: &str, g: &Graph, loss, logits, train: &[NodeId], feeds: &[(NodeId, &[f32])]| {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut v = Variables::new();
        v.initialize(g, &mut rng).unwrap();
        let p = Program::training(g, loss, &[logits], train).unwrap();
        let n: usize = v.iter().map(|v| v.data.len()).sum();
        println!("{name}: {} nodes, {} MB buffers, {n} values", g.len(), p.buffer_bytes() >> 20);
        let mut e = Executor::new(p, &threads);
        let mut sgd = optim::Sgd::new(0.9, 3e-4);
        for _ in 0..3 {
            let t = std::time::Instant::now();
            e.run(&mut v, feeds).unwrap();
            let d = t.elapsed();
            let gr = optim::gradients(&e, &v, train).unwrap();
            sgd.step(&mut v, &gr, 0.01, &threads).unwrap();
            println!("  {:?} + opt {:?} loss {}", d, t.elapsed() - d, e.value(loss)[0]);
        }
    };
    let h = Hypernetwork::build(&sp, &sk, batch, HypernetworkOptions::default()).unwrap();
    run("hyper", &h.graph, h.loss, h.logits, &h.weights(), &[(h.images, &images), (h.labels, &labels)]);
    let r = Relaxed::build(&sk, batch).unwrap();
    run("relaxed", &r.graph, r.loss, r.logits, &r.weights(), &[(r.images, &images), (r.labels, &labels)]);
    run("relaxed alpha", &r.graph, r.loss, r.logits, &[r.alphas.normal, r.alphas.reduction], &[(r.images, &images), (r.labels, &labels)]);
    let ge = sp.random_genotype(&sk, 2, &mut rng).unwrap();
    let d = Discrete::build(&ge, &sk, batch, Some(Heads { auxiliary: 0.4, drop_path: false, smoothing: 0. })).unwrap();
    let t = d.training.unwrap();
    let ps: Vec<_> = d.graph.parameters().collect();
    run("discrete", &d.graph, t.loss, d.logits, &ps, &[(d.images, &images), (t.labels, &labels)]);
}
