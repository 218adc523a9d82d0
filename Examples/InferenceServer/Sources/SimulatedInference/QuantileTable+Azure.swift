/// Output lengths of two production services, in tokens.
///
/// Derived from the Azure LLM inference trace 2023 of the Azure Public Dataset
/// (https://github.com/Azure/AzurePublicDataset), Microsoft, CC-BY 4.0, described in Patel et al.,
/// Splitwise: Efficient Generative LLM Inference Using Phase Splitting, ISCA 2024. Changed from
/// the original: only quantiles of the column `GeneratedTokens` are kept.
extension QuantileTable {
    /// Chat: 19,366 answers, median 129 tokens.
    public static let azureConversations = QuantileTable(
        fiftieths: [
            7, 24, 38, 44, 49, 54, 59, 64, 69, 73,
            77, 81, 84, 86, 89, 91, 93, 95, 97, 100,
            103, 107, 110, 116, 122, 129, 137, 145, 156, 163,
            177, 190, 216, 237, 375, 384, 390, 394, 396, 397,
            400, 404, 410, 414, 417, 424, 429, 442, 468, 540,
        ],
        tail: [601, 643, 954, 1000])

    /// Code completion: 8,819 answers, median 13 tokens.
    public static let azureCode = QuantileTable(
        fiftieths: [
            6, 6, 6, 6, 6, 7, 7, 7, 8, 8,
            8, 9, 9, 9, 9, 9, 10, 10, 10, 11,
            11, 12, 12, 12, 13, 13, 13, 14, 14, 15,
            16, 16, 17, 18, 19, 20, 21, 23, 25, 27,
            29, 32, 37, 42, 48, 55, 65, 79, 105, 171,
        ],
        tail: [251, 359, 825, 1899])
}
