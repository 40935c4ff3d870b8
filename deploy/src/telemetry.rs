//! ONNX Runtime's reports to its makers, which nobody who measures asked for.

/// Has ONNX Runtime record nothing of its use. From 1.31 on its library writes what program ran it
/// on what machine into a database in the user's cache, to be sent later, also where telemetry is
/// switched off in its session options; each start then takes a third of a second longer. What a
/// user has set is left as it is.
///
/// # Safety
/// The process has a single thread: this changes its environment, which C libraries read without
/// asking.
#[allow(unsafe_code, reason = "the library looks at the environment alone")]
pub unsafe fn off() {
    const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: nothing else runs that could read the environment, by this function's contract.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}
