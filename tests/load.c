// Loads with a known shape, for tests: each prints nothing and uses CPU time in one way.
//   spin SECONDS            one thread, busy until SECONDS of its own CPU time are used
//   threads N SECONDS       N threads, each as above
//   exec SECONDS            a thread busy as above that then executes `spin SECONDS`, while the first one waits
//   orphan SECONDS          a grandchild in a session of its own, forked twice; the others end at once
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double target;

static void *spin(void *unused) {
    (void)unused;
    struct timespec used;
    do {
        for (volatile int i = 0; i < 20000; i++) {}
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    } while (used.tv_sec + used.tv_nsec / 1e9 < target);
    return 0;
}

static void *execute(void *arguments) {
    spin(0);
    execv("/proc/self/exe", arguments);
    _exit(3);
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "spin")) {
        target = atof(argv[2]);
        spin(0);
    } else if (argc == 4 && !strcmp(argv[1], "threads")) {
        int count = atoi(argv[2]);
        pthread_t threads[64];
        target = atof(argv[3]);
        if (count > 64) return 2;
        for (int i = 0; i < count; i++)
            if (pthread_create(&threads[i], 0, spin, 0)) return 1;
        for (int i = 0; i < count; i++) pthread_join(threads[i], 0);
    } else if (argc == 3 && !strcmp(argv[1], "exec")) {
        char *arguments[] = {"load", "spin", argv[2], 0};
        pthread_t thread;
        target = atof(argv[2]);
        spin(0);
        if (pthread_create(&thread, 0, execute, arguments)) return 1;
        pthread_join(thread, 0);
    } else if (argc == 3 && !strcmp(argv[1], "orphan")) {
        target = atof(argv[2]);
        if (fork() == 0) {
            setsid();
            if (fork() == 0) spin(0);
            _exit(0);
        }
    } else {
        return 2;
    }
    return 0;
}
