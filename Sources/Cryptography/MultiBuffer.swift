#if arch(x86_64)
import CMultiBuffer
import CSodium
import PacketMemory

/// One libipsec-mb manager with the working memory of its calls; used by one thread at a time.
///
/// Jobs go through the unchecked submission: everything the library's own checks would look at
/// is a constant here or a length that the caller has compared with the memory behind it.
@safe
final class MultiBuffer {
    private typealias NextJob =
        @convention(c) (UnsafeMutablePointer<IMB_MGR>?) -> UnsafeMutablePointer<IMB_JOB>?

    /// Whether ChaCha20-Poly1305 runs as jobs or through init, update and finalize.
    let usesJobs: Bool
    private let manager: UnsafeMutablePointer<IMB_MGR>
    private let nextJob: NextJob
    private let submit: NextJob
    private let scratch = ByteArena(count: Scratch.byteCount)

    /// Offsets into the working memory, each on a cache line of its own.
    private enum Scratch {
        static let tag = 0
        static let context = 64
        static let byteCount = context + 512
    }

    /// - Returns: `nil` where the library cannot be used: no memory, or its self-test failed.
    init?(usesJobs: Bool) {
        guard let manager = unsafe alloc_mb_mgr(0) else { return nil }
        var architecture = IMB_ARCH_NONE
        unsafe init_mb_mgr_auto(manager, &architecture)
        let tested = UInt64(IMB_FEATURE_SELF_TEST)
        let passed = UInt64(IMB_FEATURE_SELF_TEST_PASS)
        let features = unsafe manager.pointee.features
        guard unsafe imb_get_errno(manager) == 0, architecture != IMB_ARCH_NONE,
            features & tested == 0 || features & passed != 0,
            let nextJob = unsafe manager.pointee.get_next_job,
            let submit = unsafe manager.pointee.submit_job_nocheck
        else {
            unsafe free_mb_mgr(manager)
            return nil
        }
        precondition(
            MemoryLayout<chacha20_poly1305_context_data>.size <= 512
                && MemoryLayout<gcm_context_data>.size <= 512, "contexts outgrew their memory")
        self.usesJobs = usesJobs
        unsafe self.manager = manager
        unsafe self.nextJob = nextJob
        unsafe self.submit = submit
        scratch.whole.fill(with: 0)
    }

    deinit {
        unsafe sodium_memzero(scratch.whole.unsafeStart, scratch.whole.count)
        unsafe free_mb_mgr(manager)
    }

    /// Such as "libipsec-mb 1.3.0 job API, AVX512".
    var summary: String {
        let api = usesJobs ? "job API" : "direct API"
        return "libipsec-mb \(MultiBuffer.version) \(api), \(instructionSet)"
    }

    static var version: String { unsafe String(cString: imb_get_version_str()) }

    /// Whether this CPU has what makes jobs faster than direct calls (see PacketCipher).
    static var prefersJobs: Bool {
        let features = imb_get_feature_flags()
        let wide = UInt64(IMB_FEATURE_AVX512F) | UInt64(IMB_FEATURE_AVX512BW)
        return features & wide == wide || features & UInt64(IMB_FEATURE_AVX2) == 0
    }

    private var instructionSet: String {
        switch unsafe IMB_ARCH(rawValue: manager.pointee.used_arch) {
        case IMB_ARCH_AVX512: "AVX512"
        case IMB_ARCH_AVX2: "AVX2"
        case IMB_ARCH_AVX: "AVX"
        case IMB_ARCH_SSE: "SSE"
        default: "no AES instructions"
        }
    }
}

// MARK: - ChaCha20-Poly1305

extension MultiBuffer {
    /// Encrypts to `output`, which is as long as `input`, and writes the tag to `tag`.
    @inline(__always)
    func sealChaCha20Poly1305(
        key: borrowing Secret32, nonce: ByteRegion, associated: ByteRegion,
        input: ByteRegion, output: ByteRegion, tag: ByteRegion
    ) {
        if usesJobs {
            unsafe runJob(
                IMB_DIR_ENCRYPT, IMB_ORDER_CIPHER_HASH, key.unsafeStart, nonce, associated,
                input, output, tag)
        } else {
            unsafe runDirect(
                manager.pointee.chacha20_poly1305_enc_update, key.unsafeStart, nonce, associated,
                input, output, tag)
        }
    }

    /// Decrypts to `output`, which is as long as `input`.
    /// - Returns: Whether `tag` is the right one.
    @inline(__always)
    func openChaCha20Poly1305(
        key: borrowing Secret32, nonce: ByteRegion, associated: ByteRegion,
        input: ByteRegion, tag: ByteRegion, output: ByteRegion
    ) -> Bool {
        let computed = scratch.whole.region(at: Scratch.tag, count: 16)
        if usesJobs {
            unsafe runJob(
                IMB_DIR_DECRYPT, IMB_ORDER_HASH_CIPHER, key.unsafeStart, nonce, associated,
                input, output, computed)
        } else {
            unsafe runDirect(
                manager.pointee.chacha20_poly1305_dec_update, key.unsafeStart, nonce, associated,
                input, output, computed)
        }
        return MAC16(copying: computed) == MAC16(copying: tag)
    }

    @inline(__always)
    private func runJob(
        _ direction: IMB_CIPHER_DIRECTION, _ order: IMB_CHAIN_ORDER, _ key: UnsafeRawPointer,
        _ nonce: ByteRegion, _ associated: ByteRegion,
        _ input: ByteRegion, _ output: ByteRegion, _ tag: ByteRegion
    ) {
        guard let job = unsafe nextJob(manager) else { preconditionFailure("no free job") }
        unsafe job.pointee.cipher_mode = IMB_CIPHER_CHACHA20_POLY1305
        unsafe job.pointee.hash_alg = IMB_AUTH_CHACHA20_POLY1305
        unsafe job.pointee.cipher_direction = direction
        unsafe job.pointee.chain_order = order
        unsafe job.pointee.enc_keys = key
        unsafe job.pointee.dec_keys = key
        unsafe job.pointee.key_len_in_bytes = 32
        unsafe job.pointee.iv = UnsafePointer(nonce.bytePointer)
        unsafe job.pointee.iv_len_in_bytes = 12
        unsafe job.pointee.src = UnsafePointer(input.bytePointer)
        unsafe job.pointee.dst = output.bytePointer
        unsafe job.pointee.cipher_start_src_offset_in_bytes = 0
        unsafe job.pointee.msg_len_to_cipher_in_bytes = UInt64(input.count)
        unsafe job.pointee.hash_start_src_offset_in_bytes = 0
        unsafe job.pointee.msg_len_to_hash_in_bytes = UInt64(input.count)
        unsafe job.pointee.u.CHACHA20_POLY1305.aad = UnsafeRawPointer(associated.unsafeStart)
        unsafe job.pointee.u.CHACHA20_POLY1305.aad_len_in_bytes = UInt64(associated.count)
        unsafe job.pointee.auth_tag_output = tag.bytePointer
        unsafe job.pointee.auth_tag_output_len_in_bytes = 16
        // This algorithm's jobs are complete when submit returns. Were one ever not, the output
        // could still be plaintext: it must not leave this process.
        let completed = unsafe submit(manager)
        precondition(
            unsafe completed == job && job.pointee.status == IMB_STATUS_COMPLETED,
            "a cipher job did not complete at once")
    }

    @inline(__always)
    private func runDirect(
        _ update: chacha_poly_enc_dec_update_t?, _ key: UnsafeRawPointer,
        _ nonce: ByteRegion, _ associated: ByteRegion,
        _ input: ByteRegion, _ output: ByteRegion, _ tag: ByteRegion
    ) {
        guard let start = unsafe manager.pointee.chacha20_poly1305_init,
            let update = unsafe update,
            let finalize = unsafe manager.pointee.chacha20_poly1305_finalize
        else { preconditionFailure("the library lacks ChaCha20-Poly1305") }
        let context = unsafe scratch.whole.region(from: Scratch.context).unsafeStart
            .assumingMemoryBound(to: chacha20_poly1305_context_data.self)
        unsafe start(
            key, context, nonce.unsafeStart, associated.unsafeStart, UInt64(associated.count))
        unsafe update(key, context, output.unsafeStart, input.unsafeStart, UInt64(input.count))
        unsafe finalize(context, tag.unsafeStart, 16)
    }
}

// MARK: - AES-256-GCM

extension MultiBuffer {
    /// Bytes of an expanded key; wants 64-byte alignment.
    static var expandedKeyCount: Int { MemoryLayout<gcm_key_data>.size }

    func expand(_ key: borrowing Secret32, into expanded: ByteRegion) {
        guard let expand = unsafe manager.pointee.gcm256_pre else {
            preconditionFailure("the library lacks AES-256-GCM")
        }
        unsafe expand(
            key.unsafeStart, expanded.unsafeStart.assumingMemoryBound(to: gcm_key_data.self))
    }

    /// Encrypts to `output`, which is as long as `input`, and writes the tag to `tag`.
    @inline(__always)
    func sealAES256GCM(
        key: ByteRegion, nonce: ByteRegion, associated: ByteRegion,
        input: ByteRegion, output: ByteRegion, tag: ByteRegion
    ) {
        unsafe runAES256GCM(
            manager.pointee.gcm256_enc, key, nonce, associated, input, output, tag)
    }

    /// Decrypts to `output`, which is as long as `input`.
    /// - Returns: Whether `tag` is the right one.
    @inline(__always)
    func openAES256GCM(
        key: ByteRegion, nonce: ByteRegion, associated: ByteRegion,
        input: ByteRegion, tag: ByteRegion, output: ByteRegion
    ) -> Bool {
        let computed = scratch.whole.region(at: Scratch.tag, count: 16)
        unsafe runAES256GCM(
            manager.pointee.gcm256_dec, key, nonce, associated, input, output, computed)
        return MAC16(copying: computed) == MAC16(copying: tag)
    }

    @inline(__always)
    private func runAES256GCM(
        _ function: aes_gcm_enc_dec_t?, _ key: ByteRegion,
        _ nonce: ByteRegion, _ associated: ByteRegion,
        _ input: ByteRegion, _ output: ByteRegion, _ tag: ByteRegion
    ) {
        guard let function = unsafe function else {
            preconditionFailure("the library lacks AES-256-GCM")
        }
        let context = unsafe scratch.whole.region(from: Scratch.context).unsafeStart
            .assumingMemoryBound(to: gcm_context_data.self)
        unsafe function(
            key.unsafeStart.assumingMemoryBound(to: gcm_key_data.self), context,
            output.bytePointer, input.bytePointer, UInt64(input.count), nonce.bytePointer,
            associated.bytePointer, UInt64(associated.count), tag.bytePointer, 16)
    }
}
#endif
