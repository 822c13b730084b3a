/* Has the kernel start a vhost thread for this process, as QEMU does for a guest's devices, and keeps it busy:
 *
 *     vhost SECONDS
 *
 * Writes the thread's CPU time in milliseconds, whether it is a thread of this process (from Linux 6.4 on) or one of the
 * kernel's own, and whether it is in the same cgroups. No guest is behind the queues: each kick wakes the thread, which looks
 * and finds them empty. */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { QUEUES = 2, SIZE = 128 };

static char memory[1 << 16] __attribute__((aligned(4096)));

static void check(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

/* The thread named vhost-PID below a folder of tasks; 0 where there is none. */
static int find(const char *folder)
{
    char wanted[32], path[512], name[32];
    struct dirent *entry;
    int found = 0;
    DIR *tasks = opendir(folder);

    snprintf(wanted, sizeof wanted, "vhost-%d\n", getpid());
    while (tasks && !found && (entry = readdir(tasks))) {
        snprintf(path, sizeof path, "%s/%s/comm", folder, entry->d_name);
        FILE *comm = fopen(path, "r");
        if (!comm)
            continue;
        if (fgets(name, sizeof name, comm) && !strcmp(name, wanted))
            found = atoi(entry->d_name);
        fclose(comm);
    }
    if (tasks)
        closedir(tasks);
    return found;
}

/* CPU time of a task in milliseconds, as the scheduler has it: the first number of its schedstat, else ticks. */
static long spent_ms(const char *folder, int task)
{
    char path[512];
    unsigned long long ns = 0;
    unsigned long user = 0, system = 0;

    snprintf(path, sizeof path, "%s/%d/schedstat", folder, task);
    FILE *file = fopen(path, "r");
    if (file) {
        int read = fscanf(file, "%llu", &ns);
        fclose(file);
        if (read == 1 && ns > 0)
            return (long)(ns / 1000000);
    }
    snprintf(path, sizeof path, "%s/%d/stat", folder, task);
    file = fopen(path, "r");
    if (!file || fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return -1;
    fclose(file);
    return (long)((user + system) * 1000 / sysconf(_SC_CLK_TCK));
}

/* What a file says, up to some length. */
static size_t content(const char *path, char *text, size_t most)
{
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, most, file) : 0;
    if (file)
        fclose(file);
    return length;
}

static int is_beside(const char *folder, int task)
{
    char path[512], own[4096], other[4096];
    snprintf(path, sizeof path, "%s/%d/cgroup", folder, task);
    size_t length = content("/proc/self/cgroup", own, sizeof own);
    return content(path, other, sizeof other) == length && !memcmp(own, other, length);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    int kick = -1, running = 1;
    int device = open("/dev/vhost-vsock", O_RDWR);
    check(device, "/dev/vhost-vsock");
    check(ioctl(device, VHOST_SET_OWNER), "VHOST_SET_OWNER");
    uint64_t features = 1ULL << 32; /* VIRTIO_F_VERSION_1 */
    check(ioctl(device, VHOST_SET_FEATURES, &features), "VHOST_SET_FEATURES");
    struct {
        struct vhost_memory head;
        struct vhost_memory_region region;
    } table = { .head.nregions = 1 };
    table.region.guest_phys_addr = 0;
    table.region.memory_size = sizeof memory;
    table.region.userspace_addr = (uintptr_t)memory;
    check(ioctl(device, VHOST_SET_MEM_TABLE, &table), "VHOST_SET_MEM_TABLE");
    for (unsigned int queue = 0; queue < QUEUES; queue++) {
        char *base = memory + queue * (sizeof memory / QUEUES);
        struct vhost_vring_state size = { queue, SIZE }, start = { queue, 0 };
        struct vhost_vring_addr at = {
            .index = queue,
            .desc_user_addr = (uintptr_t)base,
            .avail_user_addr = (uintptr_t)base + 8192,
            .used_user_addr = (uintptr_t)base + 16384,
        };
        struct vhost_vring_file kicked = { queue, eventfd(0, 0) }, called = { queue, eventfd(0, 0) };
        check(ioctl(device, VHOST_SET_VRING_NUM, &size), "VHOST_SET_VRING_NUM");
        check(ioctl(device, VHOST_SET_VRING_BASE, &start), "VHOST_SET_VRING_BASE");
        check(ioctl(device, VHOST_SET_VRING_ADDR, &at), "VHOST_SET_VRING_ADDR");
        check(ioctl(device, VHOST_SET_VRING_KICK, &kicked), "VHOST_SET_VRING_KICK");
        check(ioctl(device, VHOST_SET_VRING_CALL, &called), "VHOST_SET_VRING_CALL");
        kick = kicked.fd;
    }
    uint64_t guest = 4242;
    check(ioctl(device, VHOST_VSOCK_SET_GUEST_CID, &guest), "VHOST_VSOCK_SET_GUEST_CID");
    check(ioctl(device, VHOST_VSOCK_SET_RUNNING, &running), "VHOST_VSOCK_SET_RUNNING");

    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        for (int kicks = 0; kicks < 100; kicks++) {
            uint64_t one = 1;
            check((int)write(kick, &one, sizeof one), "write");
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - begun.tv_sec) + (double)(now.tv_nsec - begun.tv_nsec) / 1e9 < seconds);

    const char *folder = "/proc/self/task";
    int worker = find(folder), own = worker != 0;
    if (!own) {
        folder = "/proc";
        worker = find(folder);
    }
    if (!worker) {
        fprintf(stderr, "there is no thread vhost-%d\n", getpid());
        return 1;
    }
    printf("%ld %s %s\n", spent_ms(folder, worker), own ? "own" : "kernel",
           is_beside(folder, worker) ? "beside" : "elsewhere");
    return 0;
}
