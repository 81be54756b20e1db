/* Makes filters with libseccomp, for comparison: reads calls, prints instructions.
 *
 *   filter ACTION                       seccomp_init
 *   architecture TOKEN                  seccomp_arch_add
 *   rule ACTION NAME N [INDEX OP A B]*  seccomp_rule_add_array
 *   export                              one line: instructions in hexadecimal, or "refused"
 *
 * With the argument "numbers": all system calls of our five architectures instead.
 */
#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void numbers(void)
{
	static const uint32_t tokens[] = {
		SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32, SCMP_ARCH_AARCH64, SCMP_ARCH_ARM,
	};
	for (unsigned column = 0; column < 5; column++) {
		for (unsigned number = 0; number < 0x100000; number++) {
			unsigned full = number | (column == 2 ? 0x40000000u : 0);
			char *name = seccomp_syscall_resolve_num_arch(tokens[column], (int)full);
			if (name != NULL)
				printf("%u %u %s\n", column, full, name);
			free(name);
			if (number == 1000)
				number = 0xeffff;
			if (number == 0xf0010)
				break;
		}
	}
}

static void export(scmp_filter_ctx filter)
{
	FILE *file = tmpfile();
	uint64_t instruction;
	if (file == NULL || seccomp_export_bpf(filter, fileno(file)) != 0)
		exit(1);
	lseek(fileno(file), 0, SEEK_SET);
	while (read(fileno(file), &instruction, sizeof(instruction)) == sizeof(instruction))
		printf("%" PRIx64 " ", instruction);
	printf("\n");
	fclose(file);
}

static int rule(scmp_filter_ctx filter)
{
	struct scmp_arg_cmp args[6];
	uint32_t action;
	unsigned count;
	char name[64];
	if (scanf("%" SCNu32 " %63s %u", &action, name, &count) != 3 || count > 6)
		exit(1);
	for (unsigned at = 0; at < count; at++) {
		unsigned operator;
		if (scanf("%u %u %" SCNu64 " %" SCNu64, &args[at].arg, &operator, &args[at].datum_a,
			  &args[at].datum_b) != 4)
			exit(1);
		args[at].op = (enum scmp_compare)operator;
	}
	int number = seccomp_syscall_resolve_name(name);
	if (number == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(filter, action, number, count, args);
}

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = NULL;
	char word[16];
	uint32_t value;
	int refused = 0;
	if (argc > 1) {
		numbers();
		return 0;
	}
	while (scanf("%15s", word) == 1) {
		if (strcmp(word, "filter") == 0 && scanf("%" SCNu32, &value) == 1) {
			filter = seccomp_init(value);
			refused = 0;
		} else if (strcmp(word, "architecture") == 0 && scanf("%" SCNu32, &value) == 1) {
			int result = seccomp_arch_add(filter, value);
			if (result != 0 && result != -EEXIST)
				return 1;
		} else if (strcmp(word, "rule") == 0) {
			refused |= rule(filter) != 0;
		} else if (strcmp(word, "export") == 0) {
			if (refused)
				printf("refused\n");
			else
				export(filter);
			seccomp_release(filter);
		} else {
			return 1;
		}
	}
	return 0;
}
