// Loads with a known shape, for tests: each prints nothing and uses CPU time in one way.
//   spin SECONDS            one thread, busy until SECONDS of its own CPU time are used
//   threads N SECONDS       N threads, each as above
//   exec SECONDS            a thread busy as above that then executes `spin SECONDS`, while the first one waits
//   storm N SECONDS         for so long, N threads at a time that begin and end at once, each after a little work
//   forks N SECONDS         the same with processes
//   into CGROUP SECONDS     a child that begins in another cgroup (CLONE_INTO_CGROUP) and spins there
//   cgroups DIR N           N cgroups one after the other: made, used by a process for 100 us, and removed
//   crowd DIR N             the same, and none of them is removed
//   thread TID-FILE SECONDS a thread that writes its id to the file and spins, while the first one waits
//   named SECONDS NAME...   a thread of each name, each busy as above; the first one has the first name
//   pages N                 one page fault for each of N fresh pages
//   orphan SECONDS          a grandchild in a session of its own, forked twice; the others end at once
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

static void *spin_as(void *name) {
    pthread_setname_np(pthread_self(), name);
    return spin(0);
}

static void *nothing(void *unused) {
    for (volatile int i = 0; i < 200; i++) {}
    return unused;
}

static void *tell(void *file) {
    FILE *out = fopen(file, "w");
    if (!out) _exit(4);
    fprintf(out, "%ld\n", syscall(SYS_gettid));
    fclose(out);
    return spin(0);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void *execute(void *arguments) {
    spin(0);
    execv("/proc/self/exe", arguments);
    _exit(3);
}

static long child_into(const char *cgroup) {
    struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
    int folder = open(cgroup, O_RDONLY | O_DIRECTORY);
    args.cgroup = folder;
    long child = syscall(SYS_clone3, &args, sizeof args);
    if (child) close(folder);
    return child;
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
    } else if (argc == 4 && !strcmp(argv[1], "storm")) {
        int count = atoi(argv[2]);
        pthread_t threads[64];
        if (count > 64) return 2;
        for (double end = now() + atof(argv[3]); now() < end;) {
            for (int i = 0; i < count; i++)
                if (pthread_create(&threads[i], 0, nothing, 0)) return 1;
            for (int i = 0; i < count; i++) pthread_join(threads[i], 0);
        }
    } else if (argc == 4 && !strcmp(argv[1], "forks")) {
        int count = atoi(argv[2]);
        for (double end = now() + atof(argv[3]); now() < end;) {
            for (int i = 0; i < count; i++)
                if (vfork() == 0) _exit(0);
            while (wait(0) > 0) {}
        }
    } else if (argc == 4 && !strcmp(argv[1], "into")) {
        target = atof(argv[3]);
        long child = child_into(argv[2]);
        if (child < 0) return 1;
        if (child == 0) {
            spin(0);
            _exit(0);
        }
        wait(0);
    } else if (argc == 4 && (!strcmp(argv[1], "cgroups") || !strcmp(argv[1], "crowd"))) {
        char cgroup[4096];
        int stays = !strcmp(argv[1], "crowd");
        target = 0.0001;
        for (int i = 0; i < atoi(argv[3]); i++) {
            snprintf(cgroup, sizeof cgroup, "%s/%d-%d", argv[2], getpid(), i);
            if (mkdir(cgroup, 0755)) return 1;
            long child = child_into(cgroup);
            if (child < 0) return 1;
            if (child == 0) {
                spin(0);
                _exit(0);
            }
            wait(0);
            for (int tries = 0; !stays && rmdir(cgroup) && tries < 1000; tries++) usleep(100);
        }
    } else if (argc == 4 && !strcmp(argv[1], "thread")) {
        pthread_t thread;
        target = atof(argv[3]);
        if (pthread_create(&thread, 0, tell, argv[2])) return 1;
        pthread_join(thread, 0);
    } else if (argc >= 4 && argc < 64 && !strcmp(argv[1], "named")) {
        pthread_t threads[64];
        target = atof(argv[2]);
        for (int i = 4; i < argc; i++)
            if (pthread_create(&threads[i], 0, spin_as, argv[i])) return 1;
        spin_as(argv[3]);
        for (int i = 4; i < argc; i++) pthread_join(threads[i], 0);
    } else if (argc == 3 && !strcmp(argv[1], "pages")) {
        long page = sysconf(_SC_PAGESIZE), length = atol(argv[2]) * page;
        volatile char *memory = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return 1;
        madvise((void *)memory, length, MADV_NOHUGEPAGE);
        for (long at = 0; at < length; at += page) memory[at] = 1;
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
