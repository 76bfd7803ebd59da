/*
 * airlock-launcher: what the agent starts as its bootstrap-script (docs/launcher.md).
 * It passes its environment, arguments, directory and standard streams to `airlock serve`, forwards
 * signals, and ends as the job ended. A job decides what is in its environment, so nothing here
 * reads it: not this program, and no C library before it, for it has none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "freestanding.h"

#define HELP VERSION "\nusage: airlock-launcher [--socket PATH] [bootstrap | admit]\n\n" \
    "Passes this job to `airlock serve` and ends as it ends; `admit` is for the agent's hook.\n" \
    "PATH is socket of [service] in airlock.toml, by default /run/airlock.sock.\n"

/* Failures are explained in the style of the job's log (bootstrap/log.py). */
#define MISCONFIGURED "Wrong configuration", 78, "wrong-configuration"
#define STATUS_UNKNOWN "How the job ended is not known", 79, "status-not-known"
#define COULD_NOT_START "Could not start the job", 125, "could-not-start"
#define NOT_READ() FAIL(COULD_NOT_START, "the service has not read this job for 30 seconds", \
    "It may be stopped or overloaded: see its log, and the load of this host.")
#define LATER "The hook ends with 0: the job itself tries again, and its log has the reason.\n"
#define FAIL(...) FAIL_(__VA_ARGS__)
#define FAIL_(title, status, docs, problem, hint) \
    fail(status, "+++ :no_entry: Airlock: " title "\n\x1b[31m" problem " (", \
         ")\x1b[0m\nWhat to do: " hint "\nExit status " #status " is Airlock's: " \
         "https://github.com/buildkite-airlock/airlock#" docs "\n")

enum { ARGS_LIMIT = 64 << 10, ENV_LIMIT = 8 << 20 };
enum { PAUSE = 20, RESTART = 10000, UNREAD = 30000, PASSING = 50 }; /* milliseconds */

#define BIT(signal) (1ULL << ((signal) - 1))
static const uint64_t FORWARDED = BIT(SIGTERM) | BIT(SIGINT) | BIT(SIGHUP) | BIT(SIGQUIT)
                                  | BIT(SIGUSR1) | BIT(SIGUSR2);

static struct sockaddr_un address = {AF_UNIX, "/run/airlock.sock"};
static int service, begun, hook; /* its connection; the start gate was opened; this only decides */

static int equal(const char *a, const char *b)
{
    return *a == *b && (!*a || equal(a + 1, b + 1));
}

/* Wait for one of these; without a limit if `milliseconds` is negative. */
static void wait_for(struct pollfd *any, int count, long milliseconds)
{
    struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    SYS(ppoll, any, count, milliseconds < 0 ? 0 : &limit);
}

static void print(int to, const char *text, size_t left)
{
    while (left) {
        long written = SYS(write, to, text, left);
        if (written == -EAGAIN) /* another process has made this pipe non-blocking */
            wait_for(&(struct pollfd){.fd = to, .events = POLLOUT}, 1, -1);
        else if (written > 0)
            text += written, left -= written;
        else if (written != -EINTR)
            return; /* nobody reads it any more */
    }
}

/* What was last written to a terminal may be lost if the leader of its session ends at once. */
static void let_output_pass(void)
{
    char settings[256];
    if (SYS(ioctl, 1, TCGETS, settings) == 0 || SYS(ioctl, 2, TCGETS, settings) == 0)
        wait_for(0, 0, PASSING);
}

_Noreturn static void leave(int status)
{
    if (hook && status == 125) /* not decided */
        print(2, LATER, length(LATER)), status = 0;
    let_output_pass();
    end_with(status);
}

_Noreturn static void die_by(int number)
{
    struct { void *handler; uint64_t flags, restorer, mask; } by_default = {0, 0, 0, 0};
    uint64_t this = BIT(number);
    if (hook)
        leave(0);
    let_output_pass();
    SYS(prctl, PR_SET_DUMPABLE, 0); /* no core: it would hold the job's environment */
    SYS(rt_sigaction, number, &by_default, 0, sizeof this);
    SYS(rt_sigprocmask, SIG_UNBLOCK, &this, 0, sizeof this);
    if (number < SIGSTOP || number > SIGTTOU) /* those between would only stop it */
        SYS(kill, SYS(getpid), number);
    leave(128 + number); /* a signal that ends nothing, or the first process of a container */
}

_Noreturn static void fail(int status, const char *before, const char *after)
{
    print(2, before, length(before));
    print(2, address.sun_path, length(address.sun_path));
    print(2, after, length(after));
    leave(status);
}

/* The connection has ended without a status, or the answer is no status. */
_Noreturn static void lost(void)
{
    if (begun)
        FAIL(STATUS_UNKNOWN, "the process that ran this job has ended without a status",
             "The job may have had effects: look at them before it runs again.");
    FAIL(COULD_NOT_START, "the service has closed the connection without an answer",
         "Run the job again. If this repeats, the service's log has the reason.");
}

/* Return the next signal that was received, or 0. */
static int next_signal(int signals)
{
    struct signalfd_siginfo signal;
    return SYS(read, signals, &signal, sizeof signal) == sizeof signal ? signal.ssi_signo : 0;
}

static void connect_to_service(int signals)
{
    struct timeval limit = {UNREAD / 2000, 0}; /* it applies twice: a part may have been sent */
    service = SYS(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SYS(setsockopt, service, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    for (long e, t = 0; (e = SYS(connect, service, &address, sizeof address)) != 0; t += PAUSE) {
        if (e == -EACCES || e == -EPERM)
            FAIL(MISCONFIGURED, "this user may not use the service's socket",
                 "Name the agent's user in agents of [service] in airlock.toml, and restart it.");
        if (t >= RESTART || (e != -ENOENT && e != -ECONNREFUSED && e != -EINTR))
            FAIL(COULD_NOT_START, "no service answers at this socket",
                 "Is airlock.service running, and is service.socket in airlock.toml this path?");
        wait_for(&(struct pollfd){.fd = signals, .events = POLLIN}, 1, PAUSE);
        for (int number; (number = next_signal(signals)); )
            die_by(number);
    }
    struct { int pid; unsigned uid, gid; } peer = {0, -1U, -1U};
    SYS(getsockopt, service, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof peer});
    if (peer.uid != 0 && peer.uid != SYS(getuid)) /* it would receive the job's tokens */
        FAIL(MISCONFIGURED, "the socket is another user's, where root's was expected",
             "Find out which process has it, and use a directory where only root can write.");
}

static uint32_t size_of(char **list, size_t limit)
{
    size_t size = 0;
    for (; *list; list++)
        size += length(*list) + 1;
    if (size > limit)
        FAIL(COULD_NOT_START, "the job's environment has more than 8 MiB, or the arguments 64 KiB",
             "Set fewer or shorter variables in the job.");
    return size;
}

/* The first bytes of the request carry the descriptors: three streams and the directory. */
static void send_head(uint32_t args_size, uint32_t env_size)
{
    int directory = SYS(openat, AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct { char magic[4]; uint32_t args, env, zero; } head = {"ALR1", args_size, env_size, 0};
    struct { size_t size; int level, type, descriptors[4]; } passed = {
        sizeof passed, SOL_SOCKET, SCM_RIGHTS, {0, 1, 2, directory}};
    struct msghdr first = {.msg_iov = &(struct iovec){&head, sizeof head}, .msg_iovlen = 1,
                           .msg_control = &passed, .msg_controllen = sizeof passed};
    long sent = SYS(sendmsg, service, &first, MSG_NOSIGNAL);
    if (sent != sizeof head && sent != -EPIPE && sent != -ECONNRESET)
        FAIL(COULD_NOT_START, "the job's streams and directory could not be passed on",
             "The agent's user has to be able to enter its builds-path, and open more files.");
    SYS(close, directory);
}

/* Strings that lie side by side in memory, as the kernel places them, are sent in one piece. */
static void send_strings(char **list)
{
    while (*list) {
        const char *from = *list, *to = from;
        while (*list == to)
            to += length(*list++) + 1;
        while (from < to) {
            long sent = SYS(sendto, service, from, to - from, MSG_NOSIGNAL);
            if (sent == -EAGAIN)
                NOT_READ();
            if (sent < 0 && sent != -EINTR)
                return; /* closed: its answer may be there all the same */
            from += sent > 0 ? sent : 0;
        }
    }
}

/* The service refuses the job itself: print its reason, as far as it comes. */
_Noreturn static void refused(int status, long left)
{
    char text[1024];
    for (long count = 1; left > 0 && count > 0; left -= count) {
        count = SYS(recvfrom, service, text, left < 1024 ? left : 1024, 0);
        print(2, text, count > 0 ? count : 0);
    }
    leave(status);
}

/* Take one byte of the answer. */
static void receive(void)
{
    static struct { unsigned char kind, value; uint16_t size; } answer;
    static int size;
    long count = SYS(recvfrom, service, (char *)&answer + size, 1, MSG_DONTWAIT);
    if (count != 1)
        lost();
    if (++size < (answer.kind == 'R' ? 4 : answer.kind == 'E' || answer.kind == 'S' ? 2 : 1))
        return;
    if (answer.kind == 'E')
        leave(answer.value);
    if (answer.kind == 'S' && answer.value >= 1 && answer.value <= 64)
        die_by(answer.value);
    if (answer.kind == 'R' && answer.value != 0 && !begun)
        refused(answer.value, answer.size);
    if (answer.kind != 'B' || begun)
        lost();
    begun = 1;
    size = 0;
}

_Noreturn static void converse(int signals)
{
    for (int waited = 0, unread = 1; ; waited += PAUSE) {
        struct pollfd any[] = {{service, POLLIN, 0}, {signals, POLLIN, 0}};
        wait_for(any, 2, unread ? PAUSE : -1);
        if (any[0].revents)
            receive();
        for (unsigned char number; (number = next_signal(signals)); )
            SYS(sendto, service, &number, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (unread && SYS(ioctl, service, SIOCOUTQ, &unread) == 0 && unread && waited >= UNREAD)
            NOT_READ();
    }
}

/* Only what comes before the command is the launcher's own. Return the rest. */
static char **options(char **args)
{
    for (; *args && equal(*args, "--socket"); args++) {
        const char *path = *++args;
        if (!path || !*path || length(path) >= sizeof address.sun_path)
            FAIL(MISCONFIGURED, "--socket is not followed by a path of 1 to 107 bytes",
                 "Correct bootstrap-script in the agent's configuration.");
        for (size_t i = 0; i <= length(path); i++)
            address.sun_path[i] = path[i];
    }
    if (*args && (equal(*args, "--help") || equal(*args, "--version")))
        print(1, HELP, length(HELP)), leave(0);
    return args;
}

_Noreturn __attribute__((used)) static void start(long *stack)
{
    uint64_t blocked = FORWARDED | BIT(SIGPIPE);
    SYS(rt_sigprocmask, SIG_BLOCK, &blocked, 0, sizeof blocked);
    char **args = (char **)(stack + 1), **env = args + stack[0] + 1;
    for (int stream = 0; stream <= 2; stream++) /* opening takes the lowest free descriptor */
        if (SYS(fcntl, stream, F_GETFD) < 0)
            SYS(openat, AT_FDCWD, "/dev/null", O_RDWR);
    args = options(*args ? args + 1 : args);
    hook = *args && equal(*args, "admit");
    int signals = SYS(signalfd4, -1, &FORWARDED, sizeof FORWARDED, SFD_CLOEXEC | SFD_NONBLOCK);
    connect_to_service(signals);
    send_head(size_of(args, ARGS_LIMIT), size_of(env, ENV_LIMIT));
    send_strings(args);
    send_strings(env);
    converse(signals);
}
