require ["fileinto","envelope","subaddress","mailbox"];
if anyof (header :contains "X-Spam-Flag" "YES", header :contains "Subject" "[JUNKME]") { fileinto "Junk"; stop; }
if header :contains "Subject" "[VANISH]" { discard; stop; }
