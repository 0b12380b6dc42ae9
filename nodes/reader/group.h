/* group: rollouts gather here until their group is whole, then leave it with ordinals.
 *
 * A group ends by its size, by a change of key (size unknown), when more than open_max are open
 * (the oldest ends), at GROUP_MEMBERS_MAX, or at END; never by time. Ended groups leave in the
 * order they ended.
 *
 * What is open when the store commits is written to it: each body once, when it is saved. Bodies of
 * open groups are held in memory up to GROUP_BYTES_HELD and beyond that in the store alone. A group
 * that opens and leaves between two commits never touches the store. */
#ifndef NODES_READER_GROUP_H
#define NODES_READER_GROUP_H

#include "graph/node.h"
#include "nodes/reader/inject.h"
#include "nodes/reader/line.h"

#define GROUP_MEMBERS_MAX 65536
#define GROUP_BYTES_HELD  (16 << 20)

struct groups;

/* size 0: unknown; a change of key ends the group. */
struct groups *groups_new(int64_t size, int64_t open_max);
void           groups_free(struct groups *g);
/* In groups with an accuracy of at most `accuracy` (share of rewards above `above`), wrong rollouts
 * are replaced one for one, in order, by those of `inject` (borrowed): at most `most` of a group, 0:
 * any number. They keep the ids, and say injected; the group's mean and spread count them. */
void           groups_inject(struct groups *g, const struct inject *inject, double accuracy,
                             double above, int64_t most);
int            groups_load(struct groups *g, struct node *n, struct error *e);
void           groups_save(struct groups *g, struct node *n);      /* before a commit */

void groups_add(struct groups *g, struct node *n, struct line_key key,
                const struct rollout *rollout);
void     groups_end_all(struct groups *g);
/* Members of the group that leaves next, 0 when none has ended. */
uint32_t groups_ended(const struct groups *g);
/* Send the group that leaves next as ordinals [first, first + its size): data, or closings with
 * reason "equal" when drop_equal and all rewards are alike. Writes the id index: "id:<id>" ->
 * ordinal, 8 bytes big endian. */
int groups_emit(struct groups *g, struct node *n, int port, uint64_t first, bool drop_equal,
                struct error *e);
int64_t  groups_open(const struct groups *g);       /* groups begun and not ended */

/* The key of a rollout's id in the node's state. */
struct span group_id_key(struct span id, char *room);  /* room: GROUP_ID_KEY_MAX bytes */
#define GROUP_ID_KEY_MAX 400
#define GROUP_ID_PENDING UINT64_MAX     /* the ordinal of a rollout whose group has not left yet */
void     group_id_put(struct node *n, struct span id, uint64_t ordinal);
bool     group_id_get(struct node *n, struct span id, uint64_t *ordinal);

#endif
