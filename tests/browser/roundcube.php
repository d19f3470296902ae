<?php
// /etc/roundcube/config.inc.php
$config = [];
$config['db_dsnw'] = 'mysql://postfix_user:mot%20de%20passe@127.0.0.1:@DATABASE_PORT@/roundcube_db';
$config['imap_host'] = 'tls://127.0.0.1:@IMAP_PORT@';
$config['imap_conn_options'] = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
$config['smtp_host'] = 'tls://127.0.0.1:@SUBMISSION_PORT@';
$config['smtp_conn_options'] = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
// The guide's "SMTP server does not support authentication": Roundcube logs in with what the person typed.
$config['smtp_user'] = '%u';
$config['smtp_pass'] = '%p';
$config['des_key'] = 'rcmail-!24ByteDESkey*Str';
$config['plugins'] = [];
$config['skin'] = 'elastic';
$config['language'] = 'en_US';
$config['enable_installer'] = false;
$config['log_driver'] = 'file';
$config['log_dir'] = '@OWN@/log';
$config['temp_dir'] = '@OWN@/temp';
$config['smtp_log'] = true;
