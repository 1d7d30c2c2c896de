/* Runs a command, one of whose writes to disk fails. Linux 5.5 or later.
 *
 *   fail_at NTH ERROR FOLDER COMMAND...
 *
 * Counts the command's writes, syncs, renames, links, cuts and new files below FOLDER, from 1, and lets the NTH of
 * them fail with ERROR (EIO or ENOSPC); with NTH+ the NTH and all after it, as on a full disk; with 0 none. The number
 * of them goes to the file that FAIL_AT_COUNT names. Every kind of system call is seen, whichever library made it: the
 * kernel asks this program about each (seccomp's user notifications). The exit status is the command's. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const int calls[] = {
    __NR_write, __NR_pwrite64, __NR_writev, __NR_fsync, __NR_fdatasync, __NR_ftruncate, __NR_openat,
    __NR_renameat2, __NR_linkat, __NR_mkdirat,
#ifdef __NR_renameat
    __NR_renameat,
#endif
#ifdef __NR_rename
    __NR_rename, __NR_link, __NR_mkdir, __NR_open,
#endif
};
enum { CALLS = sizeof calls / sizeof *calls };

static void die(const char *what) {
    fprintf(stderr, "fail_at: %s: %s\n", what, strerror(errno));
    exit(125);
}

/* Asks about `calls`, allows the rest; returns the descriptor that the questions come from. */
static int install(void) {
    struct sock_filter code[CALLS + 3];
    int n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < CALLS; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], CALLS - i, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {.len = n, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static int below(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return !strncmp(path, folder, length) && (path[length] == '/' || path[length] == 0);
}

static int descriptor_below(pid_t pid, int descriptor, const char *folder) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", pid, descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path, folder);
}

/* A path of the command, made absolute by its folder. */
static int path_below(pid_t pid, unsigned long at, const char *folder) {
    char name[64], path[PATH_MAX] = "", whole[2 * PATH_MAX + 1];
    snprintf(name, sizeof name, "/proc/%d/mem", pid);
    int memory = open(name, O_RDONLY);
    if (memory < 0 || pread(memory, path, sizeof path - 1, at) < 0) {
        if (memory >= 0) close(memory);
        return 0;
    }
    close(memory);
    if (path[0] == '/') return below(path, folder);
    char cwd[PATH_MAX];
    snprintf(name, sizeof name, "/proc/%d/cwd", pid);
    ssize_t length = readlink(name, cwd, sizeof cwd - 1);
    if (length < 0) return 0;
    cwd[length] = 0;
    snprintf(whole, sizeof whole, "%s/%s", cwd, path);
    return below(whole, folder);
}

static int counts(const struct seccomp_notif *asked, const char *folder) {
    const __u64 *args = asked->data.args;
    pid_t pid = asked->pid;
    switch (asked->data.nr) {
    case __NR_write: case __NR_pwrite64: case __NR_writev: case __NR_fsync: case __NR_fdatasync:
    case __NR_ftruncate:
        return descriptor_below(pid, args[0], folder);
    case __NR_openat:
        return (args[2] & O_CREAT) && path_below(pid, args[1], folder);
    case __NR_renameat2: case __NR_linkat:
#ifdef __NR_renameat
    case __NR_renameat:
#endif
        return path_below(pid, args[3], folder);
    case __NR_mkdirat:
        return path_below(pid, args[1], folder);
#ifdef __NR_rename
    case __NR_rename: case __NR_link:
        return path_below(pid, args[1], folder);
    case __NR_mkdir:
        return path_below(pid, args[0], folder);
    case __NR_open:
        return (args[1] & O_CREAT) && path_below(pid, args[0], folder);
#endif
    default:
        return 0;
    }
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: fail_at NTH[+] EIO|ENOSPC FOLDER COMMAND...\n");
        return 125;
    }
    char *rest, folder[PATH_MAX];
    long nth = strtol(argv[1], &rest, 10), count = 0;
    int from_then_on = *rest == '+', error = strcmp(argv[2], "ENOSPC") ? EIO : ENOSPC;
    if (!realpath(argv[3], folder)) die(argv[3]);
    /* The number of the listener, for the child cannot write it anywhere once the filter is on; and whether this
     * program has its own copy of it, for the child's ends when the command begins. */
    volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) die("mmap");
    shared[0] = -2;
    pid_t child = fork();
    if (child < 0) die("fork");
    if (!child) {
        int listener = install();
        shared[0] = listener;
        if (listener < 0) _exit(125);
        while (!shared[1]) usleep(200);
        fcntl(listener, F_SETFD, FD_CLOEXEC);
        execvp(argv[4], argv + 4);
        _exit(127);
    }
    while (shared[0] == -2) usleep(200);
    int process = syscall(__NR_pidfd_open, child, 0);
    int listener = shared[0] < 0 ? -1 : (int)syscall(__NR_pidfd_getfd, process, shared[0], 0);
    if (listener < 0) {
        kill(child, SIGKILL);
        die("the kernel gives no notifications");
    }
    shared[1] = 1;
    struct pollfd waiting[2] = {{listener, POLLIN, 0}, {process, POLLIN, 0}};
    for (;;) {
        if (poll(waiting, 2, -1) < 0 && errno != EINTR) die("poll");
        if (!(waiting[0].revents & POLLIN)) {
            if (waiting[1].revents & POLLIN) break;
            if (waiting[0].revents & (POLLHUP | POLLERR)) break;
            continue;
        }
        struct seccomp_notif asked;
        memset(&asked, 0, sizeof asked);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) continue;
        struct seccomp_notif_resp answer = {.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        if (counts(&asked, folder)) {
            count++;
            if (nth && (count == nth || (from_then_on && count > nth))) {
                answer.flags = 0;
                answer.error = -error;
            }
        }
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    int status;
    waitpid(child, &status, 0);
    const char *name = getenv("FAIL_AT_COUNT");
    FILE *file = name ? fopen(name, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", count);
        fclose(file);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
