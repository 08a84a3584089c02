/* GEMM jobs: the grid of tasks, packing beforehand, the sum of splits; and the public matrix product and linear layers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "impl.h"

#define TASKS_A_THREAD 3           /* enough that a late thread costs little */
#define MIN_TASK_FLOPS 2e5         /* a smaller task is not worth splitting off */
#define MAX_TASK_FLOPS 1e9  /* a larger one takes too long */

axis axis_collapse(axis a) {
    axis out = axis_plain(1, 0);
    int at = 3;
    for (int i = 3; i >= 0; i--) {
        if (a.size[i] == 1) continue;
        if (out.size[at] == 1) {
            out.size[at] = a.size[i];
            out.stride[at] = a.stride[i];
        } else if (a.stride[i] == out.stride[at] * out.size[at]) {
            out.size[at] *= a.size[i];
        } else {
            at--;
            out.size[at] = a.size[i];
            out.stride[at] = a.stride[i];
        }
    }
    if (out.size[3] == 1) out.stride[3] = 1; /* a single element is as contiguous as can be */
    return out;
}

static double job_flops(const gemm_job *job) {
    return 2.0 * (double)job->m * (double)job->n * (double)job->k * (double)job->groups;
}

/* How many parts of k to sum apart. Set by the shape alone, since it shapes the sums: where C is too small to share out and k is
 * long, as in the weight gradients of first layers. */
static int64_t split_count(const gemm_job *job) {
    const int64_t most = 16, most_bytes = 2 << 20;
    if (job->unsplit || job->accumulate || job->row_bias || job->col_bias || job->activation != CONVC_IDENTITY) return 1;
    int64_t c_bytes = job->groups * job->m * job->n * convc_itemsize(job->dtype);
    int64_t splits = min_i64(most, min_i64(job->k / (2 * job->kernels->kc), most_bytes / c_bytes));
    return max_i64(1, splits);
}

/* Shares the register panels out in tasks. No element's sum depends on the grid, so it may follow the thread count. */
void convc_gemm_prepare(gemm_job *job) {
    if (!job->kernels) job->kernels = convc_kernels_for(job->dtype);
    const convc_kernels *kernels = job->kernels;
    job->splits = split_count(job);
    job->m_panels = ceil_div(job->m, kernels->mr);
    job->n_panels = ceil_div(job->n, kernels->nr);

    int64_t max_m = max_i64(1, kernels->block_rows / kernels->mr), max_n = max_i64(1, kernels->block_cols / kernels->nr);
    int plain_c =
        job->splits > 1 || (job->c_cols.stride[3] == 1 && job->c_cols.size[3] == job->n && job->c_rows.size[3] == job->m);
    job->n_tasks = ceil_div(job->n_panels, max_n);
    /* C that must be gathered limits the rows of a task; so does packing A once for each block of k, which should find it in L2. */
    job->m_tasks = plain_c && !job->packed_b ? 1 : ceil_div(job->m_panels, max_m);

    /* Between tasks it is seen whether the user has interrupted. */
    double flops = job_flops(job);
    double largest = flops / ((double)(job->groups * job->splits) * (double)(job->n_tasks * job->m_tasks) * MAX_TASK_FLOPS);
    if (largest > 1) job->m_tasks = (int64_t)fmin((double)job->m_panels, ceil((double)job->m_tasks * largest));
    int threads = convc_threads_for(flops);
    if (threads == 1) return;
    int64_t want = (int64_t)min_i64(TASKS_A_THREAD * threads, (int64_t)(flops / MIN_TASK_FLOPS));
    int64_t apart = job->groups * job->splits;
    double pack_b = job->packed_b ? 0 : job->b.cols.stride[3] == 1 ? 40 : 160; /* rows that would be multiplied meanwhile */
    while (apart * job->m_tasks * job->n_tasks < want) {
        int64_t m_panels = job->m_panels / (job->m_tasks + 1), n_panels = job->n_panels / (job->n_tasks + 1);
        /* What halving a task adds to its time: along n, A is packed or at least read once more; along m, B is. */
        double n_cost = n_panels ? (job->packed_a ? 0.3 : 1.0) / (double)n_panels : 1e9;
        double m_cost = m_panels ? pack_b / (double)(m_panels * kernels->mr) : 1e9;
        if (!m_panels && !n_panels) break;
        if (n_cost < m_cost) job->n_tasks++;
        else job->m_tasks++;
    }
    /* A few tasks should come out even among the threads. */
    int64_t rest = apart * job->m_tasks * job->n_tasks % threads;
    if (rest && apart * job->m_tasks == 1) job->n_tasks = min_i64(job->n_panels, job->n_tasks + threads - rest);
    else if (rest && apart * job->n_tasks == 1) job->m_tasks = min_i64(job->m_panels, job->m_tasks + threads - rest);
}

static void run_task(const void *context, int64_t task, void *workspace) {
    const gemm_job *job = context;
    job->kernels->gemm_task(job, task, workspace);
}

#define SUM_ROWS 16 /* of a task that adds up parts: a square, if C runs down its columns */

static void sum_task(const void *context, int64_t task, void *workspace) {
    const gemm_job *job = context;
    (void)workspace;
    int64_t blocks = ceil_div(job->m, SUM_ROWS), m0 = task % blocks * SUM_ROWS;
    job->kernels->sum_parts(job, task / blocks, m0, min_i64(m0 + SUM_ROWS, job->m));
}

convc_status convc_gemm_run(gemm_job *job) {
    int64_t tasks = job->groups * job->splits * job->m_tasks * job->n_tasks;
    size_t workspace = job->kernels->gemm_workspace;
    if (job->splits == 1) return convc_parallel(run_task, job, tasks, job_flops(job), workspace);
    return convc_gemm_run_parts(job, run_task, job, tasks, job_flops(job), workspace);
}

convc_status convc_gemm_run_parts(gemm_job *job, convc_task run, const void *context, int64_t tasks, double flops,
                                  size_t workspace) {
    int64_t elements = job->groups * job->splits * job->m * job->n;
    convc_loan loan;
    job->parts = convc_borrow(CONVC_SCRATCH, (size_t)(elements * convc_itemsize(job->dtype)), &loan);
    if (!job->parts) return convc_fail(CONVC_NO_MEMORY, "no memory for the parts of a sum, %lld elements", (long long)elements);
    convc_status status = convc_parallel(run, context, tasks, flops, workspace);
    if (status == CONVC_OK) status = convc_parallel(sum_task, job, job->groups * ceil_div(job->m, SUM_ROWS), (double)elements, 0);
    convc_return(CONVC_SCRATCH, &loan);
    return status;
}

/* ---- packing ---- */

int64_t convc_packed_a_size(const gemm_job *job) {
    return convc_times(convc_times(job->groups * ceil_div(job->k, job->kernels->kc), job->kernels->lda), job->m);
}

int64_t convc_packed_b_size(const gemm_job *job) {
    return convc_times(convc_times(job->groups * job->n_panels, job->kernels->nr), job->k);
}

typedef struct packing {
    const gemm_job *job;
    void *packed;
} packing;

static void pack_a_task(const void *context, int64_t task, void *workspace) {
    const packing *p = context;
    p->job->kernels->pack_a_panel(p->job, task / p->job->m_panels, task % p->job->m_panels, p->packed, workspace);
}

static void pack_b_task(const void *context, int64_t task, void *workspace) {
    const packing *p = context;
    p->job->kernels->pack_b_panel(p->job, task / p->job->n_panels, task % p->job->n_panels, p->packed, workspace);
}

/* An element packed costs about as much as this many flops. */
#define PACK_FLOPS 16.0

convc_status convc_pack_a(const gemm_job *job, void *packed) {
    packing p = {job, packed};
    double flops = PACK_FLOPS * (double)job->groups * (double)job->m * (double)job->k;
    return convc_parallel(pack_a_task, &p, job->groups * job->m_panels, flops, job->kernels->copy_scratch);
}

convc_status convc_pack_b(const gemm_job *job, void *packed) {
    packing p = {job, packed};
    double flops = PACK_FLOPS * (double)job->groups * (double)job->n * (double)job->k;
    return convc_parallel(pack_b_task, &p, job->groups * job->n_panels, flops, job->kernels->copy_scratch);
}

/* ---- the matrix product ---- */

/* Packing copies rows of A and of B at vector speed where they are contiguous, element by element elsewhere. */
static double pack_cost(const axis *along, double elements) { return elements * (along->stride[3] == 1 ? 0.15 : 1.5); }

/* Cycles, roughly: the orientation of a product is chosen by this. */
static double job_cost(const gemm_job *job) {
    const convc_kernels *kernels = convc_kernels_for(job->dtype);
    double m = (double)job->m, n = (double)job->n, k = (double)job->k;
    double lanes = (double)kernels->nr / 2;
    double multiply = m * k * (double)ceil_div(job->n, (int64_t)lanes) / 2;
    double store = job->c_cols.stride[3] == 1 ? 0 : m * n;
    return multiply + store + pack_cost(&job->a.cols, m * k) + pack_cost(&job->b.cols, n * k);
}

static matrix transpose(matrix a) { return (matrix){.data = a.data, .rows = a.cols, .cols = a.rows}; }

/* C = A @ B computed as C' = B' @ A'. */
static gemm_job transpose_job(const gemm_job *job) {
    gemm_job t = *job;
    t.m = job->n;
    t.n = job->m;
    t.a = transpose(job->b);
    t.b = transpose(job->a);
    t.c_rows = job->c_cols;
    t.c_cols = job->c_rows;
    t.row_bias = job->col_bias;
    t.col_bias = job->row_bias;
    return t;
}

static convc_status run_better_orientation(gemm_job *job) {
    gemm_job other = transpose_job(job);
    gemm_job *better = job_cost(&other) < job_cost(job) ? &other : job;
    convc_gemm_prepare(better);
    return convc_gemm_run(better);
}

static matrix matrix_of(const convc_tensor *t) {
    return (matrix){.data = t->data,
                    .rows = axis_plain(max_i64(1, t->shape[0]), element_stride(t, 0)),
                    .cols = axis_plain(max_i64(1, t->shape[1]), element_stride(t, 1))};
}

static matrix transposed_matrix_of(const convc_tensor *t) { return transpose(matrix_of(t)); }

/* C = A @ B, summed over k, for operands already checked. */
static gemm_job product(matrix a, matrix b, int64_t k, const convc_tensor *c) {
    gemm_job job = {.dtype = c->dtype, .groups = 1, .a = a, .b = b, .c = c->data};
    matrix out = matrix_of(c);
    job.m = c->shape[0];
    job.n = c->shape[1];
    job.k = k;
    job.c_rows = out.rows;
    job.c_cols = out.cols;
    return job;
}

convc_status convc_contiguous(const convc_tensor *vector, const void **data, void **copy) {
    *data = *copy = NULL;
    if (!vector) return CONVC_OK;
    int64_t item = convc_itemsize(vector->dtype), count = vector->shape[0];
    *data = vector->data;
    if (vector->strides[0] == item || count == 1) return CONVC_OK;
    char *to = *copy = malloc((size_t)(count * item));
    if (!to) return convc_fail(CONVC_NO_MEMORY, "no memory for a copy of the bias");
    for (int64_t i = 0; i < count; i++) memcpy(to + i * item, (const char *)vector->data + i * vector->strides[0], (size_t)item);
    *data = to;
    return CONVC_OK;
}

static convc_status check_product(const convc_tensor *a, const char *a_name, const convc_tensor *b, const char *b_name,
                                  const convc_tensor *c, const char *c_name) {
    TRY(convc_check_dtype(b, b_name, a, a_name));
    TRY(convc_check_dtype(c, c_name, a, a_name));
    TRY(convc_check_disjoint(c, c_name, a, a_name));
    return convc_check_disjoint(c, c_name, b, b_name);
}

convc_status convc_gemm(const convc_tensor *a, const convc_tensor *b, int accumulate, const convc_tensor *c) {
    TRY(convc_check_any(a, "a", 2, 2));
    TRY(convc_check_any(b, "b", 2, 2));
    TRY(convc_check_any(c, "out", 2, 2));
    if (a->shape[1] != b->shape[0])
        return convc_fail(CONVC_INVALID_VALUE, "a (%lld, %lld) and b (%lld, %lld) must agree in the inner dimension",
                          (long long)a->shape[0], (long long)a->shape[1], (long long)b->shape[0], (long long)b->shape[1]);
    const int64_t shape[2] = {a->shape[0], b->shape[1]};
    TRY(convc_check_shape(c, "out", shape, 2));
    if (convc_size(c) == 0) return CONVC_OK;
    TRY(convc_check_output(c, "out", 2, 2));
    TRY(check_product(a, "a", b, "b", c, "out"));
    gemm_job job = product(matrix_of(a), matrix_of(b), a->shape[1], c);
    job.accumulate = accumulate;
    return run_better_orientation(&job);
}

/* ---- fully connected ---- */

convc_status convc_linear_forward(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias,
                                  convc_activation activation, const convc_tensor *y) {
    TRY(convc_check_any(x, "x", 2, 2));
    TRY(convc_check_any(w, "weight", 2, 2));
    TRY(convc_check_output(y, "out", 2, 2));
    if (w->shape[1] != x->shape[1])
        return convc_fail(CONVC_INVALID_VALUE, "weight must have %lld input features, as x has; got %lld", (long long)x->shape[1],
                          (long long)w->shape[1]);
    const int64_t shape[2] = {x->shape[0], w->shape[0]};
    TRY(convc_check_shape(y, "out", shape, 2));
    TRY(check_product(x, "x", w, "weight", y, "out"));
    if (bias) {
        TRY(convc_check_tensor(bias, "bias", 1, 1));
        TRY(convc_check_shape(bias, "bias", &w->shape[0], 1));
        TRY(convc_check_dtype(bias, "bias", x, "x"));
        TRY(convc_check_disjoint(y, "out", bias, "bias"));
    }
    if (x->shape[0] == 0) return CONVC_OK;
    void *copy = NULL;
    gemm_job job = product(matrix_of(x), transposed_matrix_of(w), x->shape[1], y);
    job.activation = activation;
    TRY(convc_contiguous(bias, &job.col_bias, &copy));
    convc_status status = run_better_orientation(&job);
    free(copy);
    return status;
}

convc_status convc_linear_backward_data(const convc_tensor *grad_y, const convc_tensor *w, const convc_tensor *grad_x) {
    TRY(convc_check_tensor(grad_y, "grad", 2, 2));
    TRY(convc_check_any(w, "weight", 2, 2));
    TRY(convc_check_any(grad_x, "grad_x", 2, 2));
    const int64_t w_shape[2] = {grad_y->shape[1], w->shape[1]}, x_shape[2] = {grad_y->shape[0], w->shape[1]};
    TRY(convc_check_shape(w, "weight", w_shape, 2));
    TRY(convc_check_shape(grad_x, "grad_x", x_shape, 2));
    if (convc_size(grad_x) == 0) return CONVC_OK;
    TRY(convc_check_tensor(w, "weight", 2, 2));
    TRY(convc_check_output(grad_x, "grad_x", 2, 2));
    TRY(check_product(grad_y, "grad", w, "weight", grad_x, "grad_x"));
    gemm_job job = product(matrix_of(grad_y), matrix_of(w), w->shape[0], grad_x);
    return run_better_orientation(&job);
}

convc_status convc_linear_backward_weight(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *grad_w) {
    TRY(convc_check_tensor(grad_y, "grad", 2, 2));
    TRY(convc_check_any(x, "x", 2, 2));
    TRY(convc_check_any(grad_w, "grad_weight", 2, 2));
    const int64_t x_shape[2] = {grad_y->shape[0], x->shape[1]}, w_shape[2] = {grad_y->shape[1], x->shape[1]};
    TRY(convc_check_shape(x, "x", x_shape, 2));
    TRY(convc_check_shape(grad_w, "grad_weight", w_shape, 2));
    if (convc_size(grad_w) == 0) return CONVC_OK;
    TRY(convc_check_output(grad_w, "grad_weight", 2, 2));
    TRY(check_product(grad_y, "grad", x, "x", grad_w, "grad_weight"));
    if (grad_y->shape[0] == 0) return convc_fill_zero(grad_w);
    gemm_job job = product(transposed_matrix_of(grad_y), matrix_of(x), x->shape[0], grad_w);
    return run_better_orientation(&job);
}
