/* A client that connects again and again and waits MILLISECONDS at most: ADDRESS PORT MILLISECONDS */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

int main(int count, char **words) {
    struct sockaddr_in there = {.sin_family = AF_INET};
    int patience = count == 4 ? atoi(words[3]) : 0;
    struct timeval limit = {patience / 1000, patience % 1000 * 1000};

    if (count != 4) return 2;
    there.sin_port = htons(atoi(words[2]));
    inet_pton(AF_INET, words[1], &there.sin_addr);
    for (;;) {
        int client = socket(AF_INET, SOCK_STREAM, 0);

        setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        connect(client, (struct sockaddr *)&there, sizeof there);
        close(client);
    }
}
