/*
 * airlock-launcher: what the agent starts as its bootstrap-script (docs/launcher.md).
 *
 * It passes its environment, arguments, directory and standard streams to `airlock serve`, forwards
 * signals, and ends as the job ended. A job decides what its environment is, so nothing here reads
 * it: not this program, and no C library before it, which is why it has none. The kernel starts it
 * at _start, and every system call it makes is in this file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/auxvec.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#ifndef VERSION
#define VERSION "unknown"
#endif
#define VERSION_TEXT "airlock-launcher " VERSION " (protocol 1)\n"
#define HELP                                                                                       \
	"\nusage: airlock-launcher [--socket PATH] [bootstrap | admit]\n"                          \
	"\nPasses this job to `airlock serve`, and ends as the job ends. For the agent's setting\n"  \
	"bootstrap-script, and with `admit` for its pre-bootstrap hook. The socket is that of\n"     \
	"[service] in airlock.toml, by default /run/airlock.sock.\n"

enum { MISCONFIGURED = 78, STATUS_UNKNOWN = 79, COULD_NOT_START = 125 };
enum { ARGS_LIMIT = 64 << 10, ENV_LIMIT = 8 << 20 };
enum { RESTART = 10000, PAUSE = 20, UNREAD = 30000, PASSING = 50 }; /* milliseconds */

#define README "https://github.com/buildkite-airlock/airlock#"
#define BIT(signal) (1ULL << ((signal) - 1))
static const uint64_t FORWARDED = BIT(SIGTERM) | BIT(SIGINT) | BIT(SIGHUP) | BIT(SIGQUIT) |
				  BIT(SIGUSR1) | BIT(SIGUSR2);
static const uint64_t STOPPING = BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU);

static char socket_path[sizeof ((struct sockaddr_un *)0)->sun_path] = "/run/airlock.sock";
static int begun;			     /* the job's start gate was opened */
static unsigned char signals[512];	     /* received, in their order, and not sent yet */
static size_t signals_received, signals_sent;
static char **strings[3];		     /* arguments and environment, then NULL */
static const char *piece;		     /* what of the request is being sent */
static size_t piece_left;
static int request_sent;
unsigned long __stack_chk_guard; /* the stack protector's own: random bytes of the kernel */

/* ---- system calls, without a C library ---- */

static long call(long number, long a, long b, long c, long d, long e)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e;
	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
			 : "memory");
	return x0;
#else
#error "The launcher knows x86-64 and 64-bit Arm."
#endif
}
#define SYS_6(number, a, b, c, d, e, ...)                                                          \
	call(__NR_##number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define SYS(...) SYS_6(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

static size_t length(const char *text)
{
	size_t count = 0;
	while (text[count])
		count++;
	return count;
}

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static long now(void)
{
	struct timespec time;
	SYS(clock_gettime, CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Wait for one of these; for ever if `milliseconds` is negative. */
static void wait_for(struct pollfd *any, int count, long milliseconds)
{
	struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000};
	SYS(ppoll, any, count, milliseconds < 0 ? 0 : &limit, 0, 0);
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

/* What was last written to a terminal is lost if the leader of its session ends at once. */
static void let_output_pass(void)
{
	char settings[256];
	if (SYS(ioctl, 1, TCGETS, settings) == 0 || SYS(ioctl, 2, TCGETS, settings) == 0)
		wait_for(0, 0, PASSING);
}

/* ---- the ends ---- */

_Noreturn static void leave(int status)
{
	let_output_pass();
	for (;;)
		SYS(exit_group, status);
}

_Noreturn static void die_by(int number)
{
	struct { void *handler; uint64_t flags, restorer, mask; } by_default = {0, 0, 0, 0};
	uint64_t this = BIT(number);
	let_output_pass();
	SYS(prctl, PR_SET_DUMPABLE, 0); /* no core: it would hold the job's environment */
	SYS(rt_sigaction, number, &by_default, 0, sizeof this);
	SYS(rt_sigprocmask, SIG_UNBLOCK, &this, 0, sizeof this);
	if (!(this & STOPPING))
		SYS(kill, SYS(getpid), number);
	leave(128 + number); /* a signal that ends nothing, or the first process of a container */
}

static char message[2048];
static size_t message_size;

static void add(const char *text)
{
	while (*text && message_size < sizeof message)
		message[message_size++] = *text++;
}

/* Explain in the style of the job's log (bootstrap/log.py) why this ends without a job's status. */
_Noreturn static void fail(int status, const char *problem, const char *hint)
{
	add("+++ :no_entry: Airlock: ");
	add(status == COULD_NOT_START ? "Could not start the job"
	    : status == MISCONFIGURED ? "Wrong configuration"
				      : "How the job ended is not known");
	add("\n\x1b[31m");
	add(problem);
	add(" (");
	add(socket_path);
	add(")\x1b[0m\nWhat to do: ");
	add(hint);
	add("\nExit status ");
	add(status == COULD_NOT_START ? "125 is Airlock's: " README "could-not-start\n"
	    : status == MISCONFIGURED ? "78 is Airlock's: " README "wrong-configuration\n"
				      : "79 is Airlock's: " README "status-not-known\n");
	print(2, message, message_size);
	leave(status);
}

_Noreturn __attribute__((used)) void __stack_chk_fail(void)
{
	for (;;)
		SYS(kill, SYS(getpid), SIGKILL);
}

_Noreturn static void not_understood(void)
{
	fail(begun ? STATUS_UNKNOWN : COULD_NOT_START,
	     "the service's answer is none that this launcher understands",
	     "Install the launcher and the service from one version, and restart the service.");
}

_Noreturn static void lost(void)
{
	if (begun)
		fail(STATUS_UNKNOWN, "the process that ran this job ended without a status",
		     "The job may have had effects: look at them before it is run again. The service's "
		     "log says what ended it, and the job's event in paths.records how far it came.");
	fail(COULD_NOT_START, "the service closed the connection before the job began",
	     "Run the job again. If it stays so, the service's log says why.");
}

/* ---- signals ---- */

/* The kernel keeps no order among pending signals: they are taken as soon as they are there. */
static void take_signals(int from)
{
	struct signalfd_siginfo signal;
	while (SYS(read, from, &signal, sizeof signal) == sizeof signal)
		if (signals_received < sizeof signals)
			signals[signals_received++] = signal.ssi_signo;
}

/* ---- the request ---- */

static uint32_t size_of(char **list, uint32_t limit, const char *problem)
{
	size_t size = 0;
	for (; *list; list++)
		size += length(*list) + 1;
	if (size > limit)
		fail(COULD_NOT_START, problem, "Set fewer or shorter variables in the job.");
	return size;
}

/* Return whether anything is left to send. Strings that lie side by side are one piece. */
static int next_piece(void)
{
	for (; !request_sent && !piece_left; ) {
		char ***list = !*strings[0] ? &strings[1] : &strings[0];
		if (!**list) {
			request_sent = 1;
			break;
		}
		const char *end = piece = **list;
		do
			end += length(end) + 1;
		while (*++*list == end);
		piece_left = end - piece;
	}
	if (!piece_left && signals_sent < signals_received) {
		piece = (const char *)signals + signals_sent;
		piece_left = signals_received - signals_sent;
		signals_sent = signals_received;
	} else if (!piece_left)
		signals_sent = signals_received = 0;
	return piece_left > 0;
}

/* Send what the service takes now. Return whether more is left. */
static int send_more(int service)
{
	while (next_piece()) {
		long sent = SYS(sendto, service, piece, piece_left, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent == -EAGAIN)
			return 1;
		if (sent < 0 && sent != -EINTR) { /* closed: an answer may be there all the same */
			request_sent = 1;
			piece_left = signals_received = signals_sent = 0;
			return 0;
		}
		if (sent > 0)
			piece += sent, piece_left -= sent;
	}
	return 0;
}

static int connected(int signals_from)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int service = SYS(socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (service < 0)
		fail(COULD_NOT_START, "this host has no descriptor left for a socket",
		     "Raise the agent's LimitNOFILE, or let fewer jobs run at once on this host.");
	for (size_t i = 0; i < sizeof address.sun_path; i++)
		address.sun_path[i] = socket_path[i];
	for (long until = now() + RESTART; ; ) {
		long error = SYS(connect, service, &address, sizeof address);
		if (error == 0)
			return service;
		if (error == -EACCES || error == -EPERM)
			fail(MISCONFIGURED, "this user may not use the socket of the service",
			     "Name the agent's user in agents of [service] in airlock.toml, and "
			     "restart the service.");
		if (error != -ENOENT && error != -ECONNREFUSED && error != -EAGAIN && error != -EINTR)
			fail(MISCONFIGURED, "this is no socket that a service can have",
			     "Give the launcher the path in socket of [service] in airlock.toml.");
		if (now() >= until)
			fail(COULD_NOT_START, "the service has not answered for 10 seconds",
			     "Start `airlock serve` on this host. If it runs, socket of [service] in "
			     "airlock.toml names another path than this.");
		wait_for(&(struct pollfd){.fd = signals_from, .events = POLLIN}, 1, PAUSE);
		take_signals(signals_from);
		if (signals_received) /* nothing of the job has begun */
			die_by(signals[0]);
	}
}

/* Whoever can put a socket at that path would receive the job's tokens. */
static void check_owner(int service)
{
	struct { int pid; unsigned uid, gid; } peer = {0, -1U, -1U};
	socklen_t size = sizeof peer;
	SYS(getsockopt, service, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	if (peer.uid != 0 && peer.uid != (unsigned)SYS(getuid))
		fail(MISCONFIGURED, "the socket of the service is another user's, expected root's",
		     "Find out which process has it, and put the socket where only root can.");
}

/* The first part of the request has the descriptors: stdin, stdout, stderr and the directory. */
static void introduce(int service, uint32_t args_size, uint32_t env_size)
{
	int directory = SYS(openat, AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		fail(COULD_NOT_START, "the working directory cannot be opened",
		     "The agent's user needs permission to enter the job's checkout directory.");
	struct { char magic[4]; uint32_t args, env, zero; } header = {"ALR1", args_size, env_size, 0};
	struct { size_t size; int level, type, descriptors[4]; } passed = {
		sizeof passed, SOL_SOCKET, SCM_RIGHTS, {0, 1, 2, directory}};
	struct iovec bytes = {&header, sizeof header};
	struct msghdr whole = {.msg_iov = &bytes, .msg_iovlen = 1,
			       .msg_control = &passed, .msg_controllen = sizeof passed};
	long sent = SYS(sendmsg, service, &whole, MSG_NOSIGNAL);
	if (sent != sizeof header && sent != -EPIPE && sent != -ECONNRESET)
		fail(COULD_NOT_START, "this host did not pass the job's streams to the service",
		     "Raise the agent's LimitNOFILE, or let fewer jobs run at once on this host.");
	SYS(close, directory);
}

/* ---- the answer ---- */

static char buffer[4096];

/* Return how much of the answer is in the buffer now; 0 if there is nothing yet. */
static long receive(int service)
{
	long count = SYS(recvfrom, service, buffer, sizeof buffer, MSG_DONTWAIT);
	if (count == 0 || (count < 0 && count != -EAGAIN && count != -EINTR))
		return -1;
	return count > 0 ? count : 0;
}

/* The service refuses the job itself. Its reason is printed as far as it comes. */
_Noreturn static void refused(int service, int status, long size, const char *text, long count)
{
	while (count >= 0 && size > 0) {
		count = count < size ? count : size;
		print(2, text, count);
		size -= count;
		if (size > 0)
			wait_for(&(struct pollfd){.fd = service, .events = POLLIN}, 1, -1);
		text = buffer;
		count = receive(service);
	}
	leave(status);
}

static void interpret(int service, long count)
{
	static unsigned char answer[4];
	static int have;
	for (long i = 0; i < count; i++) {
		answer[have++] = buffer[i];
		if (answer[0] == 'B' && !begun) {
			begun = 1;
			have = 0;
		} else if (answer[0] == 'E') {
			if (have == 2)
				leave(answer[1]);
		} else if (answer[0] == 'S' && (have == 1 || (answer[1] > 0 && answer[1] <= 64))) {
			if (have == 2)
				die_by(answer[1]);
		} else if (answer[0] == 'R' && !begun && (have == 1 || answer[1] > 0)) {
			uint16_t size;
			__builtin_memcpy(&size, answer + 2, sizeof size);
			if (have == 4)
				refused(service, answer[1], size, buffer + i + 1, count - i - 1);
		} else
			not_understood();
	}
}

_Noreturn static void converse(int service, int signals_from)
{
	int taken = 0; /* the service has read the whole request */
	for (long until = now() + UNREAD; ; ) {
		int more = send_more(service), unread = 0;
		SYS(ioctl, service, SIOCOUTQ, &unread);
		taken |= !more && !unread;
		struct pollfd any[] = {{.fd = service, .events = POLLIN | (more ? POLLOUT : 0)},
				       {.fd = signals_from, .events = POLLIN}};
		wait_for(any, 2, taken ? -1 : PAUSE);
		take_signals(signals_from);
		long count = any[0].revents & ~POLLOUT ? receive(service) : 0;
		if (count < 0)
			lost();
		interpret(service, count);
		if (!taken && now() >= until)
			fail(COULD_NOT_START, "the service has not read this job for 30 seconds",
			     "It may be stopped or overloaded: its log and the load of this host say.");
	}
}

/* ---- the start ---- */

/* Only the arguments before the command are the launcher's own. Return the others. */
static char **options(char **args)
{
	while (*args && equal(*args, "--socket")) {
		const char *path = *++args;
		if (!path || !*path || length(path) >= sizeof socket_path)
			fail(MISCONFIGURED, "--socket has no path of 1 to 107 bytes after it",
			     "Correct bootstrap-script in the agent's configuration.");
		for (size_t i = 0; i <= length(path); i++)
			socket_path[i] = path[i];
		args++;
	}
	if (*args && (equal(*args, "--version") || equal(*args, "--help"))) {
		print(1, VERSION_TEXT, sizeof VERSION_TEXT - 1);
		if (equal(*args, "--help"))
			print(1, HELP, sizeof HELP - 1);
		leave(0);
	}
	return args;
}

/* What is closed would be taken by the first descriptor that is opened. */
static void open_streams(void)
{
	for (int file = 0; file <= 2; file++)
		if (SYS(fcntl, file, F_GETFD) < 0 && SYS(openat, AT_FDCWD, "/dev/null", O_RDWR) < 0)
			fail(COULD_NOT_START, "a standard stream is closed and /dev/null is missing",
			     "Start the agent with /dev mounted.");
}

_Noreturn __attribute__((used, no_stack_protector)) static void start(long *stack)
{
	uint64_t blocked = FORWARDED | BIT(SIGPIPE);
	SYS(rt_sigprocmask, SIG_BLOCK, &blocked, 0, sizeof blocked);
	char **args = (char **)(stack + 1), **env = args + stack[0] + 1, **after = env;
	while (*after)
		after++;
	for (long *value = (long *)(after + 1); value[0] != AT_NULL; value += 2)
		if (value[0] == AT_RANDOM)
			__stack_chk_guard = *(unsigned long *)value[1];
	open_streams();
	int signals_from = SYS(signalfd4, -1, &FORWARDED, sizeof FORWARDED, SFD_CLOEXEC | SFD_NONBLOCK);
	strings[0] = options(*args ? args + 1 : args);
	strings[1] = env;
	uint32_t args_size = size_of(strings[0], ARGS_LIMIT, "the arguments have more than 64 KiB");
	uint32_t env_size = size_of(env, ENV_LIMIT, "the job's environment has more than 8 MiB");
	int service = connected(signals_from);
	check_owner(service);
	introduce(service, args_size, env_size);
	converse(service, signals_from);
}

void _start(void);
#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
#else
__asm__(".globl _start\n_start: mov x29, #0\n mov x30, #0\n mov x0, sp\n bl start\n");
#endif
