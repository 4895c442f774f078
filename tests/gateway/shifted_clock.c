/* A wall clock that is off by what a file says, for every process that is started with this library in LD_PRELOAD.
 *
 * ANDON_SHIFTED_CLOCK names the file: int64 milliseconds to add, int64 answer of adjtimex(2) (5: not synchronised). It is read at
 * every question, so a test sets the clock of a running process. Clocks that nobody can set stay as they are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int file = -1;

static void setting(int64_t words[2]) {
    const char *path = getenv("ANDON_SHIFTED_CLOCK");
    if (file < 0 && path != NULL) {
        file = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (file < 0 || pread(file, words, 16, 0) != 16) {
        abort();
    }
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    int result;
    if (real_clock_gettime == NULL) {
        real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    }
    result = real_clock_gettime(clock, out);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t words[2], ns;
        setting(words);
        ns = out->tv_sec * SECOND + out->tv_nsec + words[0] * 1000000;
        out->tv_sec = ns / SECOND;
        out->tv_nsec = ns % SECOND;
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

int adjtimex(struct timex *out) {
    int64_t words[2];
    (void)out;
    setting(words);
    return (int)words[1];
}
