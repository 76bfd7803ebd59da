/*
 * airlock-builder CONTROL PROGRAM ARGUMENT...: the first program of a container that builds images
 * (docs/builds.md#how-it-is-confined). It enters a user namespace of its own, in which it is nobody
 * until Airlock, at the other end of the socket CONTROL, has mapped its users. Then it becomes root
 * there, takes the two descriptors that come with Airlock's word, and is PROGRAM:
 *   3        a socket that listens, passed as systemd passes one (LISTEN_FDS, LISTEN_PID)
 *   1 and 2  where its output goes
 * It does this in one process without an exec between, because with no-new-privileges an exec
 * before the mapping would cost it the capabilities in its namespace, and none after would bring
 * them back. If a step fails it sends the step and the error's number over CONTROL, one line, and
 * ends with 125.
 * It runs in an image of which it uses nothing: it has no C library.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "freestanding.h"

enum { FAILED = 125, VARIABLES = 4096, LISTENER = 3 };

static long control = -1;

/* Write a number in decimal, and return the end of it. */
static char *written(char *at, unsigned long number)
{
    char digits[20], *digit = digits;
    do
        *digit++ = '0' + number % 10;
    while (number /= 10);
    while (digit > digits)
        *at++ = *--digit;
    *at = 0;
    return at;
}

_Noreturn static void fail(const char *step, long error)
{
    char text[128], *at = text;
    for (; *step && at < text + 64; step++)
        *at++ = *step;
    *at++ = ' ';
    at = written(at, -error);
    *at++ = '\n';
    SYS(sendto, control, text, at - text, MSG_NOSIGNAL);
    end_with(FAILED);
}

static void checked(const char *step, long result)
{
    if (result < 0)
        fail(step, result);
}

static void connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    for (size_t i = 0; path[i] && i < sizeof address.sun_path - 1; i++)
        address.sun_path[i] = path[i];
    control = SYS(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    checked("connect", SYS(connect, control, &address, sizeof address));
}

/* Wait until this process is mapped, and put what comes with that in its place. */
static void await_mapping(void)
{
    char word;
    struct { size_t size; int level, type, descriptors[2]; } rights = {0};
    struct iovec content = {&word, 1};
    struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1, .msg_control = &rights,
                             .msg_controllen = sizeof rights};
    long size = SYS(recvmsg, control, &message, MSG_CMSG_CLOEXEC);
    checked("recvmsg", size);
    if (size != 1 || rights.size != sizeof rights || rights.type != SCM_RIGHTS)
        fail("mapping", -ENOMSG);
    int listener = rights.descriptors[0], output = rights.descriptors[1];
    for (int standard = 1; standard <= 2; standard++)
        checked("dup3", SYS(dup3, output, standard, 0));
    if (control == LISTENER) {
        control = SYS(fcntl, control, 1030 /* F_DUPFD_CLOEXEC */, LISTENER + 1);
        checked("fcntl", control);
    }
    if (listener == LISTENER) /* which stays open then */
        checked("fcntl", SYS(fcntl, listener, 2 /* F_SETFD */, 0));
    else
        checked("dup3", SYS(dup3, listener, LISTENER, 0));
}

static void become_root(void)
{
    checked("setgroups", SYS(setgroups, 0, 0));
    checked("setresgid", SYS(setresgid, 0, 0, 0));
    checked("setresuid", SYS(setresuid, 0, 0, 0));
}

_Noreturn __attribute__((used)) static void start(long *stack)
{
    static char *variables[VARIABLES];
    static char process[32] = "LISTEN_PID=";
    char **arguments = (char **)(stack + 1), **environment = arguments + stack[0] + 1;
    size_t count = 0;
    if (stack[0] < 3)
        fail("arguments", -EINVAL);
    connect_to(arguments[1]);
    checked("unshare", SYS(unshare, CLONE_NEWUSER | CLONE_NEWNS));
    checked("send", SYS(sendto, control, "\n", 1, MSG_NOSIGNAL));
    await_mapping();
    become_root();
    written(process + length(process), SYS(getpid));
    variables[count++] = process;
    variables[count++] = "LISTEN_FDS=1";
    for (; *environment && count < VARIABLES - 1; environment++)
        variables[count++] = *environment;
    fail("execve", SYS(execve, arguments[2], arguments + 2, variables));
}
