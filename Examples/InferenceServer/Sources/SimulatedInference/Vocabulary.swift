/// The words that the simulated model speaks: about four bytes a token, as real tokens have,
/// some of them beyond ASCII so that a client that cuts text at byte borders is found out.
///
/// No word needs escaping in JSON, which ``CompletionChunks`` relies on.
enum Vocabulary {
    /// A random word.
    static func word(using generator: inout SeededGenerator) -> String {
        words[Int(generator.next() % UInt64(words.count))]
    }

    static let words: [String] = """
        the of and to in is that for on with as at by it from are this be or an was not can has \
        have will one all more when they which each their time if out many then them these so \
        some her would make like him into look two write go see number no way could people my \
        than first water been call who oil its now find long down day did get come made may part \
        over new sound take only little work know place year live me back give most very after \
        thing our just name good sentence man think say great where help through much before line \
        right too mean old any same tell boy follow came want show also around form three small \
        set put end does another well large must big even such because turn here why ask went men \
        read need land different home us move try kind hand picture again change off play spell \
        air away animal house point page letter mother answer found study still learn should \
        world high every near add food between own below country plant last school father keep \
        tree never start city earth eye light thought head under story saw left few while along \
        might close seem next hard open example begin life always those both paper together got \
        group often run model packet tunnel branch token stream latency gateway prompt queue \
        naïve café über façade señor Ærø Łódź Žižek αβγ мир 東京 推理 分公司 저녁 שלום ☀ → 🙂 🚀
        """.split(separator: " ").map(String.init)
}
