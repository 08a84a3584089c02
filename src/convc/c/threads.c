/* The only OpenMP policy: how many threads, who runs what, and what happens after a fork. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "impl.h"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

#define MAX_THREADS 256
/* Threads are woken all together or not at all: libgomp ends those that the next team does not need, and starting them again takes longer
 * than most operators. They are worth waking for twice this much work, in a large team for an eighth of it each. */
#define THREAD_FLOPS 5e5
#define CHECK_SECONDS 0.1
#define ALIGNMENT 64

static atomic_int thread_count;  /* 0: not asked yet */
static atomic_int forked;        /* a child of a process that ran threads: libgomp would wait for them forever */
static atomic_int threads_ran;
static int (*_Atomic interrupt_check)(void);

/* ---- how many ---- */

static int from_environment(const char *name) {
    const char *text = getenv(name);
    int n = text ? atoi(text) : 0;
    return n > 0 ? n : 0;
}

/* CPUs that the cgroup's quota amounts to, or MAX_THREADS. */
static int quota(void) {
    long long limit = 0, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f) {
        if (fscanf(f, "%lld %lld", &limit, &period) != 2) limit = 0;
        fclose(f);
    } else {
        if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r"))) {
            if (fscanf(f, "%lld", &limit) != 1) limit = 0;
            fclose(f);
        }
        if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r"))) {
            if (fscanf(f, "%lld", &period) != 1) period = 0;
            fclose(f);
        }
    }
    if (limit <= 0 || period <= 0) return MAX_THREADS;
    return (int)max_i64(1, min_i64(MAX_THREADS, (limit + period - 1) / period));
}

static int usable_cpus(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
#if defined(_WIN32)
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return (int)info.dwNumberOfProcessors;
#else
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
#endif
}

static int default_count(void) {
    int n = from_environment("CONVC_NUM_THREADS");
    if (!n) n = from_environment("OMP_NUM_THREADS");
    if (!n) n = (int)min_i64(usable_cpus(), quota());
    return (int)max_i64(1, min_i64(MAX_THREADS, n));
}

int convc_get_num_threads(void) {
    if (atomic_load(&forked)) return 1;
    int n = atomic_load(&thread_count);
    if (n) return n;
    int none = 0;
    n = default_count();
    return atomic_compare_exchange_strong(&thread_count, &none, n) ? n : none;
}

convc_status convc_set_num_threads(int64_t n) {
    if (n < 1 || n > MAX_THREADS)
        return convc_fail(CONVC_INVALID_VALUE, "n must be from 1 to %d threads, got %lld", MAX_THREADS, (long long)n);
    atomic_store(&thread_count, (int)n);
    return CONVC_OK;
}

int convc_threads_for(double flops) {
#if defined(_OPENMP)
    int n = convc_get_num_threads();
    return flops < THREAD_FLOPS * (double)max_i64(2, n / 8) ? 1 : n;
#else
    (void)flops;
    return 1;
#endif
}

/* ---- what each calling thread keeps ---- */

typedef struct kept {
    convc_loan blocks[CONVC_KINDS];
    double checked; /* when this thread last asked whether it is interrupted, */
    double flops; /* and what it has done since it looked at the clock */
} kept;

#if defined(_WIN32)
static __declspec(thread) kept mine;
static kept *kept_here(void) { return &mine; }
#else
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void release(void *p) {
    kept *k = p;
    for (int i = 0; i < CONVC_KINDS; i++) free(k->blocks[i].memory);
    free(k);
}

static void in_child(void) {
    if (atomic_load(&threads_ran)) atomic_store(&forked, 1);
}

static void set_up(void) {
    pthread_key_create(&key, release);
    pthread_atfork(NULL, NULL, in_child);
}

static kept *kept_here(void) {
    pthread_once(&once, set_up);
    kept *k = pthread_getspecific(key);
    if (!k && (k = calloc(1, sizeof *k)) && pthread_setspecific(key, k)) {
        free(k);
        k = NULL;
    }
    return k;
}
#endif

void *convc_borrow(convc_kind kind, size_t bytes, convc_loan *loan) {
    kept *k = kept_here();
    *loan = (convc_loan){0};
    if (!k || bytes > SIZE_MAX - ALIGNMENT) return NULL;
    *loan = k->blocks[kind];
    k->blocks[kind] = (convc_loan){0};
    if (!loan->memory || loan->size < bytes) {
        free(loan->memory);
        loan->memory = convc_allocate(bytes + ALIGNMENT);
        loan->size = loan->memory ? bytes : 0;
        if (!loan->memory) return NULL;
    }
    return (void *)(((uintptr_t)loan->memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

void convc_return(convc_kind kind, convc_loan *loan) {
    kept *k = kept_here();
    convc_loan other = *loan;
    if (k && k->blocks[kind].size <= loan->size) {
        other = k->blocks[kind];
        k->blocks[kind] = *loan;
    }
    free(other.memory);
}

/* ---- running ---- */

void convc_set_interrupt_check(int (*check)(void)) { atomic_store(&interrupt_check, check); }

static double now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct team {
    convc_task run;
    const void *context;
    int64_t count;
    char *workspace;
    size_t stride;
    double flops; /* of a task */
    atomic_llong next;
    atomic_int stop;
} team;

#define CHECKED_FLOPS 1e6 /* between two looks at the clock, which take no time then */

static void take_tasks(team *t, int thread, kept *caller) {
    int (*check)(void) = thread == 0 ? atomic_load(&interrupt_check) : NULL;
    while (!atomic_load_explicit(&t->stop, memory_order_relaxed)) {
        int64_t task = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
        if (task >= t->count) return;
        t->run(t->context, task, t->workspace + (size_t)thread * t->stride);
        if (!check || (caller->flops += t->flops) < CHECKED_FLOPS) continue;
        caller->flops = 0;
        double time = now(), since = time - caller->checked;
        if (since >= 0 && since < CHECK_SECONDS) continue;
        caller->checked = time;
        if (check()) atomic_store(&t->stop, 1);
    }
}

convc_status convc_parallel(convc_task run, const void *context, int64_t count, double flops, size_t workspace) {
    if (count <= 0) return CONVC_OK;
    int threads = convc_threads_for(flops), workers = (int)min_i64(threads, count);
    team t = {.run = run, .context = context, .count = count, .flops = flops / (double)count};
    t.stride = (workspace + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    convc_loan loan;
    t.workspace = convc_borrow(CONVC_WORKSPACE, t.stride * (size_t)workers + 1, &loan);
    if (!t.workspace) return convc_fail(CONVC_NO_MEMORY, "no memory for a workspace of %zu bytes", t.stride * (size_t)workers);
    kept *caller = kept_here();
#if defined(_OPENMP)
    if (workers > 1) {
        atomic_store(&threads_ran, 1);
#pragma omp parallel num_threads(threads)
        if (omp_get_thread_num() < workers) take_tasks(&t, omp_get_thread_num(), caller);
    } else
#endif
        take_tasks(&t, 0, caller);
    convc_return(CONVC_WORKSPACE, &loan);
    return atomic_load(&t.stop) ? convc_fail(CONVC_INTERRUPTED, "interrupted") : CONVC_OK;
}
