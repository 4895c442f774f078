/* A clock that runs RATE times as fast, for every process that is started with this library in LD_PRELOAD.
 *
 * ANDON_FAST_CLOCK="rate monotonic_ns realtime_ns tick_ns": fast = origin + (real - origin) * rate. The origins are fixed by
 * whoever starts the first process, so all processes share one clock, without shared memory or locks that a kill -9 could
 * leave taken. Waits last the asked time on the fast clock. CPU-time clocks and file times stay real.
 *
 * tick_ns of the fast clock is the least that poll(2) waits when nothing arrives. MicroPython's event loop waits with poll,
 * CPython's with epoll: boards that look at something many times a second do it once a tick.
 *
 * ANDON_FAST_CLOCK_TURNS=folder: whoever waits with poll tells there, in a file named by its process id, when the host kept it
 * from what it wanted to do (turns.py reads it). A turn is from the end of the wait (of a tick at least) to the next one. Records of
 * three int64 in nanoseconds of the fast clock: due, end, own; `own` is what the process did of it by itself: CPU time, as
 * if it had passed at the host's speed, and sleep.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
/* A deadline above this is an epoch, one below a time since the host's start: 2001 in the one, 31 years of uptime in the other. */
#define EPOCHS_FROM (1000000000LL * SECOND)

/* Turns shorter than this are not told: no judge needs them. */
#define SHORT_TURN (SECOND / 10)

static int64_t rate = 1, origin_monotonic, origin_realtime, tick;

/* The turn under way: when it was due, CPU time at its beginning, sleep in it. One thread of a process may poll, as MicroPython does. */
static int64_t turn_due, turn_cpu, turn_slept;
static int turns = -1;

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
static int (*real_pselect)(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *);
static int (*real_epoll_pwait2)(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);
static int (*real_nanosleep)(const struct timespec *, struct timespec *);
static int (*real_clock_nanosleep)(clockid_t, int, const struct timespec *, struct timespec *);
static int (*real_sem_clockwait)(sem_t *, clockid_t, const struct timespec *);
static int (*real_sem_timedwait)(sem_t *, const struct timespec *);
static int (*real_cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*real_cond_clockwait)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        fprintf(stderr, "fast_clock: this libc has no %s\n", name);
        abort();
    }
    return found;
}

__attribute__((constructor)) static void set_up(void) {
    const char *setting = getenv("ANDON_FAST_CLOCK");
    long long words[4];
    if (real_clock_gettime != NULL) {
        return;
    }
    if (setting != NULL && sscanf(setting, "%lld %lld %lld %lld", &words[0], &words[1], &words[2], &words[3]) == 4 &&
        words[0] >= 1) {
        rate = words[0];
        origin_monotonic = words[1];
        origin_realtime = words[2];
        tick = words[3];
    }
    real_ppoll = next("ppoll");
    real_pselect = next("pselect");
    real_epoll_pwait2 = next("epoll_pwait2");
    real_nanosleep = next("nanosleep");
    real_clock_nanosleep = next("clock_nanosleep");
    real_sem_clockwait = next("sem_clockwait");
    real_sem_timedwait = next("sem_timedwait");
    real_cond_clockwait = next("pthread_cond_clockwait");
    /* x86-64's libc has an older one of this name for binaries of before 2003, and dlsym may find that. */
    real_cond_timedwait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (real_cond_timedwait == NULL) {
        real_cond_timedwait = next("pthread_cond_timedwait");
    }
    real_clock_gettime = next("clock_gettime");
}

static int64_t nanoseconds(const struct timespec *time) { return time->tv_sec * SECOND + time->tv_nsec; }

static struct timespec timespec_of(int64_t ns) {
    struct timespec time = {ns / SECOND, ns % SECOND};
    return time;
}

static int is_epoch(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI; }

static int is_warped(clockid_t clock) {
    return is_epoch(clock) || clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE ||
           clock == CLOCK_BOOTTIME;
}

/* The real time of a time on the fast clock, for absolute deadlines. */
static struct timespec real_deadline(int64_t fast, int64_t origin) {
    int64_t passed = fast - origin;
    /* Rounded up: a wait that ends early makes its caller spin. */
    return timespec_of(origin + (passed > 0 ? (passed + rate - 1) / rate : passed));
}

static struct timespec shorter(int64_t ns) { return timespec_of(ns <= 0 ? 0 : (ns + rate - 1) / rate); }

int clock_gettime(clockid_t clock, struct timespec *out) {
    if (real_clock_gettime == NULL) {
        set_up();
    }
    /* The raw clock drifts from the other one; nobody compares them. */
    int result = real_clock_gettime(clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME ? CLOCK_MONOTONIC : clock, out);
    if (result == 0 && is_warped(clock)) {
        int64_t origin = is_epoch(clock) ? origin_realtime : origin_monotonic;
        *out = timespec_of(origin + (nanoseconds(out) - origin) * rate);
    }
    return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

static int64_t now_on(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return nanoseconds(&now);
}

static void open_turns(void) {
    const char *folder = getenv("ANDON_FAST_CLOCK_TURNS");
    char path[4096];
    if (turns == -1 && folder != NULL && snprintf(path, sizeof path, "%s/%d", folder, (int)getpid()) < (int)sizeof path) {
        turns = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    /* Tried once. */
    turns = turns < 0 ? -2 : turns;
}

static void end_turn(void) {
    int64_t end, record[3];
    open_turns();
    end = now_on(CLOCK_MONOTONIC);
    if (turns < 0 || turn_due == 0 || end - turn_due < SHORT_TURN) {
        return;
    }
    record[0] = turn_due;
    record[1] = end;
    record[2] = now_on(CLOCK_PROCESS_CPUTIME_ID) - turn_cpu + turn_slept;
    /* A turn that is not told counts as the process's own. */
    if (write(turns, record, sizeof record) != sizeof record) {
        turns = -2;
    }
}

static void begin_turn(int64_t waits_until) {
    int64_t now = now_on(CLOCK_MONOTONIC);
    /* What arrives ends a wait before its time. */
    turn_due = waits_until >= 0 && waits_until < now ? waits_until : now;
    turn_cpu = turns < 0 ? 0 : now_on(CLOCK_PROCESS_CPUTIME_ID);
    turn_slept = 0;
}

int nanosleep(const struct timespec *wanted, struct timespec *left) {
    struct timespec real = shorter(nanoseconds(wanted));
    turn_slept += nanoseconds(wanted);
    int result = real_nanosleep(&real, left);
    if (result != 0 && left != NULL) {
        *left = timespec_of(nanoseconds(left) * rate);
    }
    return result;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left) {
    struct timespec real;
    if (!is_warped(clock)) {
        return real_clock_nanosleep(clock, flags, wanted, left);
    }
    if (flags & TIMER_ABSTIME) {
        real = real_deadline(nanoseconds(wanted), is_epoch(clock) ? origin_realtime : origin_monotonic);
    } else {
        real = shorter(nanoseconds(wanted));
        turn_slept += nanoseconds(wanted);
    }
    int result = real_clock_nanosleep(clock, flags, &real, left);
    if (result != 0 && left != NULL && !(flags & TIMER_ABSTIME)) {
        *left = timespec_of(nanoseconds(left) * rate);
    }
    return result;
}

int usleep(useconds_t wanted) {
    struct timespec real = shorter((int64_t)wanted * 1000);
    turn_slept += (int64_t)wanted * 1000;
    return real_nanosleep(&real, NULL);
}

unsigned int sleep(unsigned int seconds) {
    struct timespec real = shorter((int64_t)seconds * SECOND), left = {0, 0};
    turn_slept += (int64_t)seconds * SECOND;
    return real_nanosleep(&real, &left) == 0 ? 0 : (unsigned int)(nanoseconds(&left) * rate / SECOND);
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *wanted, const sigset_t *mask) {
    struct timespec real = shorter(wanted == NULL ? 0 : nanoseconds(wanted));
    return real_ppoll(fds, count, wanted == NULL ? NULL : &real, mask);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    int64_t wanted = (int64_t)timeout_ms * 1000000;
    int64_t waits = wanted > 0 && wanted < tick ? tick : wanted, waits_until;
    struct timespec real = shorter(waits);
    int result, error;
    end_turn();
    waits_until = timeout_ms < 0 ? -1 : now_on(CLOCK_MONOTONIC) + waits;
    result = real_ppoll(fds, count, timeout_ms < 0 ? NULL : &real, NULL);
    error = errno;
    begin_turn(waits_until);
    errno = error;
    return result;
}

int pselect(int count, fd_set *restrict readable, fd_set *restrict writable, fd_set *restrict failed,
            const struct timespec *restrict wanted, const sigset_t *restrict mask) {
    struct timespec real = shorter(wanted == NULL ? 0 : nanoseconds(wanted));
    turn_slept += wanted == NULL ? 0 : nanoseconds(wanted);
    return real_pselect(count, readable, writable, failed, wanted == NULL ? NULL : &real, mask);
}

int select(int count, fd_set *restrict readable, fd_set *restrict writable, fd_set *restrict failed,
           struct timeval *restrict wanted) {
    struct timespec real = shorter(wanted == NULL ? 0 : wanted->tv_sec * SECOND + wanted->tv_usec * 1000);
    turn_slept += wanted == NULL ? 0 : wanted->tv_sec * SECOND + wanted->tv_usec * 1000;
    return real_pselect(count, readable, writable, failed, wanted == NULL ? NULL : &real, NULL);
}

int epoll_pwait2(int epoll, struct epoll_event *events, int count, const struct timespec *wanted, const sigset_t *mask) {
    struct timespec real = shorter(wanted == NULL ? 0 : nanoseconds(wanted));
    return real_epoll_pwait2(epoll, events, count, wanted == NULL ? NULL : &real, mask);
}

int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout_ms, const sigset_t *mask) {
    struct timespec real = shorter((int64_t)timeout_ms * 1000000);
    return real_epoll_pwait2(epoll, events, count, timeout_ms < 0 ? NULL : &real, mask);
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms) {
    return epoll_pwait(epoll, events, count, timeout_ms, NULL);
}

int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict deadline) {
    struct timespec real = real_deadline(nanoseconds(deadline), is_epoch(clock) ? origin_realtime : origin_monotonic);
    return real_sem_clockwait(semaphore, clock, &real);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    struct timespec real = real_deadline(nanoseconds(deadline), origin_realtime);
    return real_sem_timedwait(semaphore, &real);
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
    /* Which clock the condition was made for is not to be asked. */
    int64_t fast = nanoseconds(deadline);
    struct timespec real = real_deadline(fast, fast >= EPOCHS_FROM ? origin_realtime : origin_monotonic);
    return real_cond_timedwait(condition, mutex, &real);
}

int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
                           const struct timespec *restrict deadline) {
    struct timespec real = real_deadline(nanoseconds(deadline), is_epoch(clock) ? origin_realtime : origin_monotonic);
    return real_cond_clockwait(condition, mutex, clock, &real);
}
