/* A server that forks a child for each connection; its arguments say what it does wrong or right:
   ADDRESS PORT [all] [keep] [reuse] [linger] [linger2] */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int count;
static char **words;

static int told(const char *word) {
    for (int i = 3; i < count; i++)
        if (strcmp(words[i], word) == 0) return 1;
    return 0;
}

static int listener(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    struct linger at_once = {1, 0};
    int on = 1, never = -1, server = socket(AF_INET, SOCK_STREAM, 0);

    if (told("reuse")) setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (told("linger")) setsockopt(server, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (told("linger2")) setsockopt(server, IPPROTO_TCP, TCP_LINGER2, &never, sizeof never);
    inet_pton(AF_INET, words[1], &here.sin_addr);
    if (bind(server, (struct sockaddr *)&here, sizeof here) != 0) exit(1);
    if (listen(server, 4096) != 0) exit(1);
    return server;
}

/* One read, or all there is; the end of the process closes the connection. */
static void serve(int end) {
    char buffer[4096];
    ssize_t length = read(end, buffer, 100);

    while (told("all") && length > 0) length = read(end, buffer, sizeof buffer);
    length = write(end, "thanks", 6);
    _exit(length != 6);
}

int main(int argc, char **argv) {
    count = argc;
    words = argv;
    signal(SIGCHLD, SIG_IGN);
    for (int server = listener();;) {
        int end = accept(server, 0, 0);

        if (fork() == 0) serve(end);
        if (!told("keep")) close(end); /* else what every forking server gets wrong once */
    }
}
