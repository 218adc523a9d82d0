import Glibc

/// How many seeds randomised tests run; `nil` where the environment does not say.
let environmentCount: Int? = unsafe getenv("BRANCHLINE_SEED_COUNT").flatMap {
    unsafe Int(String(cString: $0))
}
