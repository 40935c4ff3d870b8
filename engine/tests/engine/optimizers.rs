//! Optimisers, against the numbers PyTorch 2.15 printed.

use adwp_engine::optim::{
    Adam, Gradient, Optimizer, Sgd, State, clip_gradient_norm, gradient_norm, gradients,
    moving_average,
};
use adwp_engine::{
    EngineError, Executor, Feed, Graph, Init, NodeId, Op, Program, Role, Variable, Variables,
};

use crate::compare::assert_close;
use crate::device::device;

const TOLERANCE: f64 = 1e-6;
const START: [f32; 4] = [1.0, -2.0, 0.5, 4.0];

fn weight() -> Variables {
    let mut variables = Variables::new();
    for (name, data) in [("other", vec![7.0; 3]), ("w", START.to_vec())] {
        variables.insert(Variable::new(name, [data.len()], data, Role::Parameter));
    }
    variables
}

#[track_caller]
fn expect(step: usize, variables: &Variables, printed: &[f64]) {
    assert_close(
        variables.get("w").unwrap().data().unwrap(),
        printed,
        TOLERANCE,
        &format!("w after step {step}"),
    );
    assert_eq!(
        variables.get("other").unwrap().data().unwrap(),
        [7.0; 3],
        "a variable without a gradient must stay"
    );
}

#[test]
fn sgd_with_momentum_and_weight_decay() {
    // w = torch.tensor([1.0, -2.0, 0.5, 4.0], requires_grad=True)
    // optimizer = torch.optim.SGD([w], lr=0.025, momentum=0.9, weight_decay=3e-2)
    // printed = []
    // for step in range(3):
    //     optimizer.zero_grad()
    //     (w * torch.tensor([1.0, 2.0, -3.0, 0.5]) * (step + 1)).sum().backward()
    //     optimizer.step()
    //     printed.append(w.detach().clone())
    // print(printed)
    let mut variables = weight();
    let mut sgd = Sgd::new(0.9, 3e-2);
    let printed: [[f64; 4]; 3] = [
        [0.97425, -2.0485, 0.574625, 3.9845],
        [0.9003443, -2.190614, 0.7913566, 3.942562],
        [0.7581539, -2.466873, 1.210821, 3.86436],
    ];
    for (step, printed) in printed.iter().enumerate() {
        let values = [1.0, 2.0, -3.0, 0.5].map(|g| g * (step + 1) as f32);
        let gradient = Gradient::new(variables.position("w").unwrap(), &values);
        sgd.step(&mut variables, &[gradient], 0.025, &device()).unwrap();
        expect(step, &variables, printed);
    }
}

#[test]
fn sgd_with_a_rate_that_changes() {
    // w = torch.tensor([1.0, -2.0, 0.5, 4.0], requires_grad=True)
    // optimizer = torch.optim.SGD([w], lr=1.0, momentum=0.5)
    // printed = []
    // for step, rate in enumerate([0.1, 0.05, 0.2]):
    //     optimizer.zero_grad()
    //     (w * torch.tensor([1.0, 2.0, -3.0, 0.5]) * (step + 1)).sum().backward()
    //     optimizer.param_groups[0]["lr"] = rate
    //     optimizer.step()
    //     printed.append(w.detach().clone())
    // print(printed)
    let mut variables = weight();
    let mut sgd = Sgd::new(0.5, 0.0);
    let printed: [[f64; 4]; 3] = [
        [0.9, -2.2, 0.8, 3.95],
        [0.775, -2.45, 1.175, 3.8875],
        [-0.07500003, -4.15, 3.725, 3.4625],
    ];
    for (step, (printed, rate)) in printed.iter().zip([0.1, 0.05, 0.2]).enumerate() {
        let values = [1.0, 2.0, -3.0, 0.5].map(|g| g * (step + 1) as f32);
        let gradient = Gradient::new(variables.position("w").unwrap(), &values);
        sgd.step(&mut variables, &[gradient], rate, &device()).unwrap();
        expect(step, &variables, printed);
    }
}

#[test]
fn adam_with_coupled_decay() {
    // w = torch.tensor([1.0, -2.0, 0.5, 4.0], requires_grad=True)
    // optimizer = torch.optim.Adam([w], lr=0.1, betas=(0.5, 0.999), weight_decay=1e-3)
    // printed = []
    // for step in range(3):
    //     optimizer.zero_grad()
    //     (w * torch.tensor([1.0, 2.0, -3.0, 0.0]) * (2 - step) ** 3).sum().backward()
    //     optimizer.step()
    //     printed.append(w.detach().clone())
    // print(printed)
    let mut variables = weight();
    let mut adam = Adam::new((0.5, 0.999), 1e-3);
    let printed: [[f64; 4]; 3] = [
        [0.9, -2.1, 0.6, 3.9],
        [0.8415069, -2.158475, 0.6584828, 3.80043],
        [0.8107864, -2.189162, 0.6891848, 3.701546],
    ];
    for (step, printed) in printed.iter().enumerate() {
        let values = [1.0, 2.0, -3.0, 0.0].map(|g| g * (2 - step as i32).pow(3) as f32);
        let gradient = Gradient::new(variables.position("w").unwrap(), &values);
        adam.step(&mut variables, &[gradient], 0.1, &device()).unwrap();
        expect(step, &variables, printed);
    }
    assert_eq!(adam.steps(), 3);
}

#[test]
fn adam_with_strong_coupled_decay() {
    // w = torch.tensor([1.0, -2.0, 0.5, 4.0], requires_grad=True)
    // optimizer = torch.optim.Adam([w], lr=0.1, betas=(0.5, 0.999), weight_decay=2.0)
    // printed = []
    // for step in range(3):
    //     optimizer.zero_grad()
    //     (w * torch.tensor([1.0, 2.0, -3.0, 0.0]) * (2 - step) ** 3).sum().backward()
    //     optimizer.step()
    //     printed.append(w.detach().clone())
    // print(printed)
    let mut variables = weight();
    let mut adam = Adam::new((0.5, 0.999), 2.0);
    let printed: [[f64; 4]; 3] = [
        [0.9, -2.1, 0.6, 3.9],
        [0.8291693, -2.129373, 0.6543661, 3.800429],
        [0.7768333, -2.1113, 0.6772553, 3.701545],
    ];
    for (step, printed) in printed.iter().enumerate() {
        let values = [1.0, 2.0, -3.0, 0.0].map(|g| g * (2 - step as i32).pow(3) as f32);
        let gradient = Gradient::new(variables.position("w").unwrap(), &values);
        adam.step(&mut variables, &[gradient], 0.1, &device()).unwrap();
        expect(step, &variables, printed);
    }
    assert_eq!(adam.steps(), 3);
}

#[test]
fn gradients_are_clipped_by_their_common_norm() {
    // a = torch.tensor([1.0, -2.0, 0.5, 4.0], requires_grad=True)
    // b = torch.tensor([3.0], requires_grad=True)
    // ((a * a).sum() + (b * b).sum()).backward()
    // norm = torch.nn.utils.clip_grad_norm_([a, b], 5.0)
    // print(norm, a.grad, b.grad)
    let device = device();
    let mut graph = Graph::new();
    let a = graph.parameter("a", [1, 4], Init::Constant(0.0)).unwrap();
    let b = graph.parameter("b", [1, 1], Init::Constant(0.0)).unwrap();
    let a2 = graph.add("a2", Op::Linear, &[a, a]).unwrap();
    let b2 = graph.add("b2", Op::Linear, &[b, b]).unwrap();
    let loss = graph.add("loss", Op::Add, &[a2, b2]).unwrap();
    let mut variables = Variables::new();
    for (name, shape, data) in [("a", [1, 4], START.to_vec()), ("b", [1, 1], vec![3.0])] {
        variables.insert(Variable::new(name, shape, data, Role::Parameter));
    }
    let mut executor =
        Executor::new(Program::training(&graph, loss, &[], &[a, b]).unwrap(), &device).unwrap();
    executor.run(&mut variables, &[] as &[(NodeId, Feed<'_>)]).unwrap();

    let mut clipped = gradients(&executor, &variables, &[b, a]).unwrap();
    let seen = |gradient: &Gradient<'_>| gradient.values().unwrap();
    assert_eq!(seen(&clipped[1]), *executor.gradient(a).unwrap());
    assert_close(&[gradient_norm(&clipped, &device).unwrap()], &[11.0], TOLERANCE, &"norm");
    clip_gradient_norm(&mut clipped, 5.0, &device).unwrap();
    assert_close(
        &seen(&clipped[1]),
        &[0.9090909, -1.818182, 0.4545454, 3.636364],
        TOLERANCE,
        &"a.grad",
    );
    assert_close(&seen(&clipped[0]), &[2.727273], TOLERANCE, &"b.grad");
    assert_eq!(clipped[0].position(), variables.position("b").unwrap());

    let before = seen(&clipped[1]);
    assert_close(
        &[gradient_norm(&clipped, &device).unwrap()],
        &[5.0],
        TOLERANCE,
        &"norm after clipping",
    );
    clip_gradient_norm(&mut clipped, 6.0, &device).unwrap();
    assert_eq!(seen(&clipped[1]), before, "a norm within the bound changes nothing");

    // An optimiser sees them clipped: w = (1, -2, 0.5, 4) - 0.1 · grad for plain gradient descent.
    Sgd::new(0.0, 0.0).step(&mut variables, &clipped, 0.1, &device).unwrap();
    assert_close(
        variables.get("a").unwrap().data().unwrap(),
        &[0.90909091, -1.8181818, 0.45454546, 3.6363636],
        TOLERANCE,
        &"a",
    );
}

#[test]
fn an_optimiser_goes_on_from_its_restored_state() {
    let device = device();
    let values = [0.5, -1.0, 2.0, 0.25];
    let (mut straight, mut resumed) = (weight(), weight());
    let gradient = [Gradient::new(straight.position("w").unwrap(), &values)];

    let (mut sgd, mut adam) = (Sgd::new(0.9, 1e-3), Adam::new((0.5, 0.999), 1e-3));
    for variables in [&mut straight, &mut resumed] {
        let (mut first_sgd, mut first_adam) = (Sgd::new(0.9, 1e-3), Adam::new((0.5, 0.999), 1e-3));
        first_sgd.step(variables, &gradient, 0.1, &device).unwrap();
        first_adam.step(variables, &gradient, 0.1, &device).unwrap();
        (sgd, adam) = (first_sgd, first_adam);
    }
    let (mut new_sgd, mut new_adam) = (Sgd::new(0.9, 1e-3), Adam::new((0.5, 0.999), 1e-3));
    let take = |state: &State<'_>, wanted: &str| {
        let (_, slots) = state.iter().find(|(name, _)| *name == wanted).unwrap();
        slots.iter().map(|slot| slot.to_vec()).collect()
    };
    let velocity = sgd.velocity().unwrap();
    new_sgd.restore(velocity.into_iter().map(|(position, values)| (position, values.to_vec())));
    new_adam.restore(adam.steps(), |name| take(&adam.state().unwrap(), name));

    sgd.step(&mut straight, &gradient, 0.1, &device).unwrap();
    adam.step(&mut straight, &gradient, 0.1, &device).unwrap();
    new_sgd.step(&mut resumed, &gradient, 0.1, &device).unwrap();
    new_adam.step(&mut resumed, &gradient, 0.1, &device).unwrap();
    assert_eq!(straight, resumed);
}

#[test]
fn a_parameter_without_gradient_keeps_its_momentum() {
    let device = device();
    let (mut together, mut apart) = (weight(), weight());
    let (w, other) = (together.position("w").unwrap(), together.position("other").unwrap());
    let steps: [&[Gradient<'_>]; 4] = [
        &[Gradient::new(w, &[0.5, -1.0, 2.0, 0.25])],
        &[Gradient::new(other, &[1.0, -2.0, 3.0])],
        &[Gradient::new(other, &[0.5; 3]), Gradient::new(w, &[-0.5; 4])],
        &[Gradient::new(w, &[0.1; 4])],
    ];
    let mut sgd = Sgd::new(0.9, 1e-2);
    let mut of_each = [(w, Sgd::new(0.9, 1e-2)), (other, Sgd::new(0.9, 1e-2))];
    for gradients in steps {
        sgd.step(&mut together, gradients, 0.1, &device).unwrap();
        for (position, sgd) in &mut of_each {
            for gradient in gradients.iter().filter(|gradient| gradient.position() == *position) {
                sgd.step(&mut apart, std::slice::from_ref(gradient), 0.1, &device).unwrap();
            }
        }
    }
    assert_eq!(together, apart);
    assert_eq!(sgd.velocity().unwrap().into_keys().collect::<Vec<_>>(), [other, w]);
}

#[test]
fn a_state_of_other_parameters_is_refused() {
    let mut variables = weight();
    let (w, other) = (variables.position("w").unwrap(), variables.position("other").unwrap());
    let mut adam = Adam::new((0.5, 0.999), 0.0);
    adam.step(&mut variables, &[Gradient::new(w, &[1.0; 4])], 0.1, &device()).unwrap();
    let before = variables.clone();
    let error =
        adam.step(&mut variables, &[Gradient::new(other, &[1.0; 3])], 0.1, &device()).unwrap_err();
    assert!(matches!(error, EngineError::OptimizerState { expected: 3, found: 4, .. }), "{error}");
    assert_eq!(variables, before);
}

#[test]
fn a_moving_average_follows_parameters_and_statistics() {
    // More than one piece of the work, and a number of values that no vector divides.
    const LONG: usize = 40_003;
    let set = |value: f32| {
        let mut variables = Variables::new();
        variables.insert(Variable::new("not averaged", [2], vec![9.0; 2], Role::Parameter));
        variables.insert(Variable::new(
            "bn/running_var",
            [LONG],
            (0..LONG).map(|i| value * (i % 7) as f32).collect(),
            Role::Statistic,
        ));
        variables.insert(Variable::new("w", [3], vec![value, -value, 0.5], Role::Parameter));
        variables
    };
    // In another order than the values have, and without one of them.
    let mut averages = Variables::new();
    let start = set(1.0);
    for name in ["w", "bn/running_var"] {
        averages.insert(start.get(name).unwrap().clone());
    }
    // By hand: 1 → 0.75 · 1 + 0.25 · 3 = 1.5 → 0.75 · 1.5 + 0.25 · 5 = 2.375 → 0.5 · 2.375 + 0.5 ·
    // 7 = 4.6875.
    for (decay, value, expected) in [(0.75, 3.0, 1.5), (0.75, 5.0, 2.375), (0.5, 7.0, 4.6875)] {
        let mut values = set(value);
        moving_average(&mut averages, &mut values, decay, &device()).unwrap();
        assert_eq!(averages.get("w").unwrap().data().unwrap(), [expected, -expected, 0.5]);
        let long = averages.get("bn/running_var").unwrap().data().unwrap();
        assert!(
            long.iter().enumerate().all(|(i, average)| *average == expected * (i % 7) as f32),
            "decay {decay}"
        );
        assert_eq!(values, set(value), "what is averaged stays as it is");
    }
    let mut other = Variables::new();
    other.insert(Variable::new("w", [4], vec![0.0; 4], Role::Parameter));
    let before = averages.clone();
    let error = moving_average(&mut averages, &mut other, 0.5, &device()).unwrap_err();
    assert!(matches!(error, EngineError::VariableShape { .. }), "{error}");
    assert_eq!(averages, before);
}
