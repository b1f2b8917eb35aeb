/* SPDX-License-Identifier: MIT */
/* For hosts that have no translator: everything is executed by the functions of the ops. */
#include "cpu/soft/translate.h"

void translate_init(struct host_code *code)
{
	*code = (struct host_code){ 0 };
}

void translate_destroy(struct host_code *code)
{
	(void)code;
}

void translate_windows(struct host_code *code)
{
	(void)code;
}

void translate_block(struct host_code *code, struct op *ops, unsigned int count)
{
	(void)code;
	(void)ops;
	(void)count;
}

bool translate_full(const struct host_code *code)
{
	(void)code;
	return false;
}

void translate_forget(struct host_code *code)
{
	(void)code;
}
