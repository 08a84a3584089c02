/* The most floating-point operations that the fused multiply-add units can do: long chains of vectors that stay in
   registers. Apart from the library, built for this very machine when the benchmark runs. */
#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
typedef float vec __attribute__((vector_size(WIDTH)));

/* Twelve independent chains cover the latency of two units (4 to 5 cycles each) and fit in 16 registers. */
#define CHAINS 12

/* Floating-point operations of one call. */
double fma_peak_flops(long rounds, int threads) { return 2.0 * CHAINS * (WIDTH / sizeof(float)) * (double)rounds * threads; }

/* Each thread runs `rounds` multiply-adds in each chain. The sum is returned so that nothing is optimised away. */
float fma_peak_run(long rounds, int threads) {
    float total = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : total)
    for (int thread = 0; thread < threads; thread++) {
        vec factor, addend, a[CHAINS];
        for (int i = 0; i < WIDTH / (int)sizeof(float); i++) {
            factor[i] = 0.999f;
            addend[i] = 0.001f * (float)(thread + 1);
        }
        for (int i = 0; i < CHAINS; i++) a[i] = addend * (float)i;
        for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; i++) a[i] = a[i] * factor + addend;
        }
        for (int i = 1; i < CHAINS; i++) a[0] += a[i];
        total += a[0][0];
    }
    return total;
}
