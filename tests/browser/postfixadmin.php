<?php
// /etc/postfixadmin/config.local.php
$CONF['configured'] = true;
$CONF['database_type'] = 'mysqli';
$CONF['database_host'] = '127.0.0.1';
$CONF['database_port'] = '@DATABASE_PORT@';
$CONF['database_user'] = 'postfix_user';
$CONF['database_password'] = 'mot de passe';
$CONF['database_name'] = 'postfix_db';
// The hash that setup.php makes from the setup password.
$CONF['setup_password'] = '@SETUP_HASH@';
// Hashes that facteur makes and PostfixAdmin checks alike (default_pass_scheme = "SHA512-CRYPT").
$CONF['encrypt'] = 'php_crypt:SHA512::{SHA512-CRYPT}';
// facteur writes the table quota2.
$CONF['used_quotas'] = 'YES';
$CONF['new_quota_table'] = 'YES';
// PostfixAdmin's welcome mail and "Send Email" go out here.
$CONF['smtp_server'] = '127.0.0.1';
$CONF['smtp_port'] = '@SMTP_PORT@';
// The names of a test resolve nowhere.
$CONF['emailcheck_resolve_domain'] = 'NO';
