/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/demo_report.h"

#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common.h"

static uint64_t get_number(struct json_object *j, const char *group, const char *name)
{
	struct json_object *g, *v;

	if (!json_object_object_get_ex(j, group, &g) || !json_object_object_get_ex(g, name, &v))
		return 0;
	return json_object_get_uint64(v);
}

static bool get_bool(struct json_object *j, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(j, name, &v) && json_object_get_boolean(v);
}

static bool guest_sound(struct json_object *j)
{
	struct json_object *g;

	return json_object_object_get_ex(j, "guest", &g) && get_bool(g, "sound");
}

static const char *get_text(struct json_object *j, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(j, name, &v) ? json_object_get_string(v) : "";
}

static double get_real(struct json_object *j, const char *name)
{
	struct json_object *v;

	return json_object_object_get_ex(j, name, &v) ? json_object_get_double(v) : 0;
}

/* What only the destination knows of postcopy. */
static void merge_postcopy(struct json_object *s, struct json_object *r)
{
	json_object_object_foreach(r, name, value)
	{
		if (!strncmp(name, "postcopy-", 9) && !json_object_object_get_ex(s, name, NULL))
			json_object_object_add(s, name, json_object_get(value));
	}
}

/* The source's report, with the destination's half of the guest's story put in. */
static bool merge_reports(bool verify, struct json_object *s, struct json_object *r)
{
	bool moved = !strcmp(get_text(s, "status"), "completed") &&
		     !strcmp(get_text(r, "status"), "completed");
	/* In postcopy the guest runs before its memory is there: it checks itself. */
	bool digests = !verify || get_bool(s, "verified") || get_bool(s, "postcopy");
	bool verified = moved && digests && guest_sound(s) && guest_sound(r);
	struct json_object *g;

	json_object_object_add(s, "verified", json_object_new_boolean(verified));
	if (!json_object_object_get_ex(s, "guest", &g))
		return verified;
	json_object_object_add(g, "sound",
			       json_object_new_boolean(guest_sound(s) &&
						       (!moved || guest_sound(r))));
	if (moved)
		merge_postcopy(s, r);
	if (moved) {
		json_object_object_add(g, "passes-resume",
				       json_object_new_uint64(
					       get_number(r, "guest", "passes-resume")));
		json_object_object_add(g, "passes-end",
				       json_object_new_uint64(
					       get_number(r, "guest", "passes-end")));
		json_object_object_add(g, "free-hint-done",
				       json_object_new_uint64(
					       get_number(r, "guest", "free-hint-done")));
	}
	return verified;
}

static void print_summary(struct json_object *s, bool verified)
{
	struct json_object *ram;

	if (strcmp(get_text(s, "status"), "completed") != 0) {
		printf("not moved: %s\n", get_text(s, "error-desc"));
		return;
	}
	json_object_object_get_ex(s, "ram", &ram);
	printf("guest %s moved over %s:%s: total %.0f ms, downtime %.1f ms (expected %.1f, "
	       "verification %.1f), %.1f MiB in %llu rounds\n",
	       get_text(json_object_object_get(s, "guest"), "kind"), get_text(s, "transport"),
	       get_text(s, "provider"), get_real(s, "total-time"), get_real(s, "downtime"),
	       get_real(s, "expected-downtime"), get_real(s, "verify-time"),
	       get_real(ram, "transferred") / 1048576, (unsigned long long)get_real(s, "rounds"));
	printf("passes: start %llu, migration %llu, pause %llu, end %llu\nverified: %s\n",
	       (unsigned long long)get_number(s, "guest", "passes-start"),
	       (unsigned long long)get_number(s, "guest", "passes-migration"),
	       (unsigned long long)get_number(s, "guest", "passes-pause"),
	       (unsigned long long)get_number(s, "guest", "passes-end"),
	       verified ? "true" : "false");
}

static void print_together(struct json_object *t)
{
	struct json_object *list = NULL;

	if (get_real(t, "seconds") <= 0 || !json_object_object_get_ex(t, "shares", &list)) {
		printf("together: never all at once\n");
		return;
	}
	printf("together: %.2f s, %.1f MiB/s", get_real(t, "seconds"),
	       get_real(t, "bandwidth") / 1048576);
	if (get_real(t, "max-bandwidth") > 0)
		printf(" of %.1f", get_real(t, "max-bandwidth") / 1048576);
	printf(", shares");
	for (size_t i = 0; i < json_object_array_length(list); i++)
		printf(" %.3f", json_object_get_double(json_object_array_get_idx(list, i)));
	printf("\n");
}

/* Several: each with its counterpart, and whether all of them are all right. */
static bool merge_lists(bool verify, struct json_object *s, struct json_object *r)
{
	struct json_object *sources = NULL, *dests = NULL, *together;
	bool all = true;

	json_object_object_get_ex(s, "migrations", &sources);
	json_object_object_get_ex(r, "migrations", &dests);
	for (size_t i = 0; i < json_object_array_length(sources); i++) {
		struct json_object *one = json_object_array_get_idx(sources, i);
		bool ok = merge_reports(verify, one,
					dests ? json_object_array_get_idx(dests, i) : NULL);

		printf("%zu: ", i);
		print_summary(one, ok);
		all = all && ok;
	}
	if (json_object_object_get_ex(s, "together", &together))
		print_together(together);
	json_object_object_add(s, "verified", json_object_new_boolean(all));
	printf("all verified: %s\n", all ? "true" : "false");
	return all;
}

bool demo_report(bool verify, struct json_object *source, struct json_object *dest)
{
	bool verified;

	if (json_object_object_get_ex(source, "migrations", NULL))
		return merge_lists(verify, source, dest);
	verified = merge_reports(verify, source, dest);
	print_summary(source, verified);
	return verified;
}
