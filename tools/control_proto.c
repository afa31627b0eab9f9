/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/control_proto.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ramferry/err.h>

#include "common/size.h"

#define DEPTH 6 /* of a request; ours need two */

static const struct {
	const char *name, *doc;
} commands[] = {
	[CONTROL_STATUS] = {"status", "state, statistics and settings"},
	[CONTROL_CANCEL] = {"cancel", "stop; the guest stays where it is"},
	[CONTROL_POSTCOPY] = {"postcopy", "go over to postcopy now (source, --mode hybrid)"},
	[CONTROL_SET] = {"set", "change settings (source)"},
	[CONTROL_SNAPSHOT] = {"snapshot", "take one, to=FILE or to=HOST:PORT (snapshot --hold)"},
	[CONTROL_EVENTS] = {"events", "tell about changes of state and rounds as they come"},
};

enum kind { BYTES, MILLISECONDS, PERCENT };

static const struct {
	const char *name;
	enum kind kind;
	uint64_t min, max;
} parameters[CONTROL_PARAMETERS] = {
	[CONTROL_MAX_BANDWIDTH] = {"max-bandwidth", BYTES, 0, INT64_MAX},
	[CONTROL_MAX_POSTCOPY_BANDWIDTH] = {"max-postcopy-bandwidth", BYTES, 0, INT64_MAX},
	[CONTROL_DOWNTIME_LIMIT] = {"downtime-limit", MILLISECONDS, 1, 3600000},
	[CONTROL_THROTTLE] = {"throttle", PERCENT, 0, 99},
};

const char *control_parameter_name(enum control_parameter p)
{
	return parameters[p].name;
}

const char *control_command_doc(enum control_command c, const char **name)
{
	if (c >= CONTROL_NONE)
		return NULL;
	*name = commands[c].name;
	return commands[c].doc;
}

static bool refuse(struct control_refusal *why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static bool refuse(struct control_refusal *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->desc, sizeof(why->desc), fmt, ap);
	va_end(ap);
	/* The client's words may be in it, cut in the middle of a character. */
	for (char *c = why->desc; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return false;
}

/* "100M" and "300ms" as on the command line; numbers are bytes a second, ms, percent. */
static bool parse_text(enum kind kind, const char *text, uint64_t *value)
{
	int rc;

	if (kind == BYTES)
		rc = rf_size_parse(text, value);
	else if (kind == MILLISECONDS)
		rc = rf_duration_parse(text, 1, value);
	else /* a size without a suffix is a plain number */
		rc = strspn(text, "0123456789") == strlen(text) ? rf_size_parse(text, value)
								: RF_ERR_INVALID;
	return rc == RF_OK;
}

static bool parse_parameter(const char *name, struct json_object *v, struct control_settings *set,
			    struct control_refusal *why)
{
	uint64_t value = 0;
	size_t p;
	bool ok;

	for (p = 0; p < CONTROL_PARAMETERS; p++)
		if (!strcmp(name, parameters[p].name))
			break;
	if (p == CONTROL_PARAMETERS)
		return refuse(why, "there is no setting \"%.40s\"", name);
	if (json_object_is_type(v, json_type_string)) {
		const char *text = json_object_get_string(v);

		ok = strlen(text) == (size_t)json_object_get_string_len(v) &&
		     parse_text(parameters[p].kind, text, &value);
	} else {
		ok = json_object_is_type(v, json_type_int) && json_object_get_int64(v) >= 0;
		value = ok ? json_object_get_uint64(v) : 0;
	}
	if (!ok)
		return refuse(why, "%s takes a number%s", name,
			      parameters[p].kind == BYTES ? " of bytes a second, or \"100M\""
			      : parameters[p].kind == MILLISECONDS ? " of ms, or \"300ms\""
								   : " of percent");
	if (value < parameters[p].min || value > parameters[p].max)
		return refuse(why, "%s is from %llu to %llu", name,
			      (unsigned long long)parameters[p].min,
			      (unsigned long long)parameters[p].max);
	set->given[p] = true;
	set->value[p] = value;
	return true;
}

static bool parse_index(struct json_object *v, struct control_request *req,
			struct control_refusal *why)
{
	int64_t n = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : -1;

	if (n < 0 || n > INT32_MAX)
		return refuse(why, "migration takes the index of one, from 0");
	req->migration = (int)n;
	return true;
}

/* Names come once, as the parser has it. */
static bool parse_to(struct json_object *v, struct control_request *req,
		     struct control_refusal *why)
{
	const char *to = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";

	if (!to[0] || strlen(to) != (size_t)json_object_get_string_len(v))
		return refuse(why, "to takes a file or HOST:PORT");
	req->to = strdup(to);
	return req->to || refuse(why, "no memory");
}

static bool parse_argument(const char *name, struct json_object *v, struct control_request *req,
			   struct control_refusal *why)
{
	if (req->command == CONTROL_SNAPSHOT && !strcmp(name, "to"))
		return parse_to(v, req, why);
	if (!strcmp(name, "migration") && req->command != CONTROL_EVENTS &&
	    req->command != CONTROL_SNAPSHOT)
		return parse_index(v, req, why);
	if (req->command == CONTROL_SET)
		return parse_parameter(name, v, &req->set, why);
	if (req->command == CONTROL_EVENTS && !strcmp(name, "enable")) {
		if (!json_object_is_type(v, json_type_boolean))
			return refuse(why, "enable is true or false");
		req->on = json_object_get_boolean(v);
		return true;
	}
	return refuse(why, "%s has no argument \"%.40s\"", commands[req->command].name, name);
}

static bool parse_arguments(struct json_object *args, struct control_request *req,
			    struct control_refusal *why)
{
	bool any = false;

	if (args && !json_object_is_type(args, json_type_object))
		return refuse(why, "arguments is no object");
	if (args) {
		json_object_object_foreach(args, name, value)
		{
			if (!parse_argument(name, value, req, why))
				return false;
		}
	}
	for (size_t p = 0; p < CONTROL_PARAMETERS; p++)
		any = any || req->set.given[p];
	if (req->command == CONTROL_SET && !any)
		return refuse(why, "set what? give a setting such as \"max-bandwidth\": \"100M\"");
	if (req->command == CONTROL_SNAPSHOT && !req->to)
		return refuse(why, "snapshot to where? give \"to\": \"FILE\" or \"HOST:PORT\"");
	return true;
}

static bool parse_execute(struct json_object *v, struct control_request *req,
			  struct control_refusal *why)
{
	const char *name;

	if (!json_object_is_type(v, json_type_string))
		return refuse(why, "execute is no string");
	name = json_object_get_string(v);
	for (size_t c = 0; c < CONTROL_NONE; c++)
		if (!strcmp(name, commands[c].name))
			req->command = (enum control_command)c;
	if (req->command != CONTROL_NONE)
		return true;
	why->unknown_command = true;
	return refuse(why, "there is no command \"%.40s\"", name);
}

static bool parse_object(struct json_object *o, struct control_request *req,
			 struct control_refusal *why)
{
	struct json_object *execute = NULL, *args = NULL;
	const char *stranger = NULL;

	if (!json_object_is_type(o, json_type_object))
		return refuse(why, "the line is no JSON object");
	json_object_object_foreach(o, name, value)
	{
		if (!strcmp(name, "execute"))
			execute = value;
		else if (!strcmp(name, "arguments"))
			args = value;
		else if (!strcmp(name, "id"))
			req->id = json_object_get(value);
		else
			stranger = name;
	}
	if (stranger)
		return refuse(why,
			      "there is no member \"%.40s\"; a request has execute, "
			      "arguments and id",
			      stranger);
	if (!execute)
		return refuse(why, "execute is missing");
	return parse_execute(execute, req, why) && parse_arguments(args, req, why);
}

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r", line[i]) || !line[i])
			return false;
	return true;
}

bool control_parse(const char *line, size_t len, struct control_request *req,
		   struct control_refusal *why)
{
	struct json_tokener *tok;
	struct json_object *o;
	enum json_tokener_error err;
	bool ok;

	*req = (struct control_request){
		.command = CONTROL_NONE,
		.migration = CONTROL_ALL,
		.on = true,
	};
	*why = (struct control_refusal){0};
	if (is_blank(line, len))
		return refuse(why, "the line is empty");
	tok = json_tokener_new_ex(DEPTH);
	if (!tok)
		return refuse(why, "no memory");
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(tok, line, (int)len);
	err = json_tokener_get_error(tok);
	if (err == json_tokener_success && json_tokener_get_parse_end(tok) != len)
		err = json_tokener_error_parse_unexpected;
	if (err == json_tokener_continue) { /* a bare number goes on until something else comes */
		o = json_tokener_parse_ex(tok, "\n", 1);
		err = json_tokener_get_error(tok);
	}
	if (err == json_tokener_continue)
		ok = refuse(why, "the line ends in the middle of its JSON");
	else if (err != json_tokener_success)
		ok = refuse(why, "the line is no JSON: %s", json_tokener_error_desc(err));
	else
		ok = parse_object(o, req, why);
	json_object_put(o);
	json_tokener_free(tok);
	return ok;
}

void control_request_fini(struct control_request *req)
{
	json_object_put(req->id);
	free(req->to);
	req->id = NULL;
	req->to = NULL;
}

/* Takes over o. */
static char *to_line(struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	char *line = NULL;

	if (!text || asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	json_object_put(o);
	return line;
}

char *control_return_line(struct json_object *ret, struct json_object *id)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "return", ret);
	if (id)
		json_object_object_add(o, "id", json_object_get(id));
	return to_line(o);
}

char *control_error_line(const struct control_refusal *why, struct json_object *id)
{
	struct json_object *o = json_object_new_object(), *e = json_object_new_object();

	json_object_object_add(e, "class",
			       json_object_new_string(why->unknown_command ? "CommandNotFound"
									   : "GenericError"));
	json_object_object_add(e, "desc", json_object_new_string(why->desc));
	json_object_object_add(o, "error", e);
	if (id)
		json_object_object_add(o, "id", json_object_get(id));
	return to_line(o);
}

char *control_event_line(const char *event, struct json_object *data)
{
	struct json_object *o = json_object_new_object(), *at = json_object_new_object();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_object_object_add(at, "seconds", json_object_new_int64(now.tv_sec));
	json_object_object_add(at, "microseconds", json_object_new_int64(now.tv_nsec / 1000));
	json_object_object_add(o, "event", json_object_new_string(event));
	json_object_object_add(o, "data", data);
	json_object_object_add(o, "timestamp", at);
	return to_line(o);
}
