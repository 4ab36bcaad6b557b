/** What this server says it is: the etcd release whose protocol and behaviour it follows. */
export const etcdVersion = '3.6.8';
