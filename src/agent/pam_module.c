/*
 * pam_bramble.so: asks for the old and the new password and hands both to the agent's service, which asks the server.
 *
 * It is for the PAM type `password` only, which pam_exec cannot do: before Linux-PAM 1.6 it hands no password to a
 * program there, and it never hands the old one. Everything else of a log-in is done by the agent through pam_exec.
 *
 * Built without headers and without a C library of its own (it uses the one of the program that loads it), so that one
 * file fits every release of one processor. The constants are those of Linux-PAM's and Linux's interfaces.
 */

typedef struct pam_handle pam_handle_t;
typedef __SIZE_TYPE__ size_t;
#ifdef __LP64__
typedef long ssize_t;
#else
typedef int ssize_t;
#endif

extern int pam_get_user(pam_handle_t *, const char **, const char *);
extern int pam_get_item(const pam_handle_t *, int, const void **);
extern int pam_get_authtok(pam_handle_t *, int, const char **, const char *);
extern int pam_set_item(pam_handle_t *, int, const void *);
extern int pam_prompt(pam_handle_t *, int, char **, const char *, ...);
extern int socket(int, int, int);
extern int connect(int, const void *, unsigned);
extern ssize_t send(int, const void *, size_t, int);
extern ssize_t recv(int, void *, size_t, int);
extern int shutdown(int, int);
extern int close(int);

enum {
	PAM_SUCCESS = 0, PAM_SERVICE_ERR = 3, PAM_IGNORE = 25, PAM_AUTHTOK_ERR = 20, PAM_AUTHTOK_RECOVERY_ERR = 21,
	PAM_SERVICE = 1, PAM_TTY = 3, PAM_AUTHTOK = 6, PAM_OLDAUTHTOK = 7,
	PAM_PRELIM_CHECK = 0x4000, PAM_UPDATE_AUTHTOK = 0x2000,
	PAM_ERROR_MSG = 3,
	AF_UNIX = 1, SOCK_STREAM = 1, SOCK_CLOEXEC = 02000000, SHUT_WR = 1, MSG_NOSIGNAL = 0x4000,
	REQUEST = 2048, ANSWER = 1024
};

static const char unreachable[] =
	"The server cannot be reached. Your password was not changed; try again in a minute, or tell your teacher.";

#ifdef __arm__
/* Named in every object of this processor; nothing here is ever unwound. */
void __aeabi_unwind_cpp_pr0(void) {}
void __aeabi_unwind_cpp_pr1(void) {}
#endif

/* Volatile, so that it is not left out as of no use. */
static void wipe(char *bytes, size_t length)
{
	for (volatile char *at = bytes; length > 0; length--)
		*at++ = 0;
}

/* Appends `text` with its zero byte; nonzero if it does not fit. */
static int put(char *request, size_t *used, const char *text)
{
	if (!text)
		text = "";
	do {
		if (*used == REQUEST)
			return 1;
		request[(*used)++] = *text;
	} while (*text++);
	return 0;
}

/* One request to the service, `request` as in src/agent/socket.rs; the answer with a zero byte at its end. */
static int ask(const char *request, size_t length, char answer[ANSWER])
{
	struct { unsigned short family; char path[108]; } address = { AF_UNIX, "/run/bramble/agent.sock" };
	size_t got = 0;
	ssize_t step;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return 1;
	if (connect(fd, &address, sizeof address) == 0 && send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length &&
	    shutdown(fd, SHUT_WR) == 0)
		while (got < ANSWER - 1 && (step = recv(fd, answer + got, ANSWER - 1 - got, 0)) > 0)
			got += (size_t)step;
	close(fd);
	answer[got] = 0;
	return got == 0;
}

__attribute__((visibility("default")))
int pam_sm_chauthtok(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const char *name = 0, *old = 0, *new = 0, *answer = unreachable;
	const void *service = 0, *terminal = 0;
	char request[REQUEST], reply[ANSWER];
	size_t length = 0;
	int result;

	(void)argc, (void)argv;
	if (pam_get_user(pamh, &name, 0) != PAM_SUCCESS || !name)
		return PAM_SERVICE_ERR;
	/* The library asks twice: whether it could be done, and to do it. */
	if (pam_get_authtok(pamh, PAM_OLDAUTHTOK, &old, 0) != PAM_SUCCESS || !old)
		return PAM_AUTHTOK_RECOVERY_ERR;
	if (flags & PAM_PRELIM_CHECK)
		return PAM_SUCCESS;
	if (!(flags & PAM_UPDATE_AUTHTOK))
		return PAM_SERVICE_ERR;
	result = pam_get_authtok(pamh, PAM_AUTHTOK, &new, 0);
	if (result != PAM_SUCCESS || !new)
		return PAM_AUTHTOK_ERR;

	pam_get_item(pamh, PAM_SERVICE, &service);
	pam_get_item(pamh, PAM_TTY, &terminal);
	result = put(request, &length, "password") || put(request, &length, service) || put(request, &length, terminal) ||
		put(request, &length, name) || put(request, &length, old) || put(request, &length, new);
	if (result)
		answer = "Your password was not changed: the new one is too long.";
	else if (ask(request, length, reply) == 0)
		answer = reply[0] == '+' ? 0 : reply + 1;
	wipe(request, sizeof request);
	if (!answer)
		return PAM_SUCCESS;
	/* Another module must not take over what the server refused. */
	pam_set_item(pamh, PAM_AUTHTOK, 0);
	if (*answer)
		pam_prompt(pamh, PAM_ERROR_MSG, 0, "%s", answer);
	return PAM_AUTHTOK_ERR;
}
